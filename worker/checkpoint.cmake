muster_library(muster_checkpoint SOURCES checkpoint.c checkpoint_load.c checkpoint_agree.c checkpoint_match.c
  checkpoint_writer.c checkpoint_tier.c checkpoint_tier_save.c checkpoint_tier_exchange.c checkpoint_tier_load.c
  LINKS muster_ckpt muster_job muster_comm muster_fault Threads::Threads)
