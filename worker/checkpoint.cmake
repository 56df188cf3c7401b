muster_library(muster_checkpoint SOURCES checkpoint.c checkpoint_load.c checkpoint_agree.c LINKS muster_ckpt muster_comm muster_fault)
