/* SPDX-License-Identifier: MIT
 *
 * Which way NCCL talks, read from lines as NCCL 2.28 writes them.
 */
#include "comm/nccl_transport.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

static const char *const one_host =
    "node07:311:311 [0] NCCL INFO NET/Socket : Using [0]eth0:10.1.0.7<0>\n"
    "node07:311:340 [0] NCCL INFO Using network Socket\n"
    "node07:311:355 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM/read\n"
    "node07:311:355 [0] NCCL INFO Channel 01/0 : 0[0] -> 1[1] via P2P/direct pointer\n";

static const struct {
    const char *log, *text;
} cases[] = {
    {"", ""},
    {"\n\nnothing of note\n", ""},
    {"x NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/IPC", "GPU peer-to-peer"},
    {"x NCCL INFO Channel 09 : 6[6] -> 7[7] via SHM/direct/direct\n", "shared memory"},
    {"x NCCL INFO Channel 00/0 : 0[0] -> 1[0] [send] via NET/Socket/0\n", "sockets"},
    {"x NCCL INFO Channel 00/0 : 0[0] -> 1[0] [receive] via NET/Socket/0(1)/GDRDMA\n",
     "sockets with GPUDirect"},
    {"x NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [RO]; OOB ib0:10.0.0.1<0>\n"
     "x NCCL INFO Channel 00/0 : 3[1] -> 2[0] via P2P/CUMEM\n"
     "x NCCL INFO Channel 00/0 : 0[0] -> 2[0] [send] via NET/IB/3/GDRDMA\n",
     "GPU peer-to-peer, InfiniBand with GPUDirect"},
    {"x NCCL INFO NET/IB : Using [0]mlx5_bond_0:1/RoCE [RO]; OOB eth0:10.0.0.1<0>\n"
     "x NCCL INFO Channel 00/0 : 0[0] -> 2[0] [send] via NET/IB/0\n",
     "RoCE"},
    {"x NCCL INFO Channel 03/0 : 7[3] -> 3[3] [receive] via NET/IBext_v8/3\n", "InfiniBand"},
    {"x NCCL INFO Channel 03/0 : 7[3] -> 3[3] [receive] via NET/AWS Libfabric/3/GDRDMA\n",
     "AWS Libfabric with GPUDirect"},
    {"x NCCL INFO Channel 03/0 : 7[3] -> 3[3] [receive] via NET/a network whose name is longer than its "
     "room\n",
     "a network whose name is longer "},
    {"x NCCL INFO comm 0x1 reached via NET/Socket\n", ""}, /* no channel */
};

START_TEST(the_way_is_told_from_the_channels)
{
    char text[96];
    struct nccl_transport transport = nccl_transport_parse(cases[_i].log);
    nccl_transport_describe(&transport, text, sizeof(text));
    ck_assert_str_eq(text, cases[_i].text);
}
END_TEST

START_TEST(an_interface_that_is_there_but_not_used_does_not_count)
{
    struct nccl_transport transport = nccl_transport_parse(one_host);
    ck_assert(transport.peer_to_peer && !transport.sockets && !transport.infiniband);
}
END_TEST

START_TEST(a_log_cut_anywhere_is_read_as_far_as_it_goes)
{
    for (size_t length = 0; length <= strlen(one_host); length++) {
        char *cut = strndup(one_host, length); /* its own block: a step beyond the end shows */
        struct nccl_transport transport = nccl_transport_parse(cut);
        const char *seen = strstr(cut, "via P2P/");
        ck_assert(transport.peer_to_peer == (seen != NULL) && !transport.sockets);
        free(cut);
    }
}
END_TEST

START_TEST(a_description_never_leaves_its_room)
{
    struct nccl_transport all = {true, true, true, true, true, true, "plugin"};
    for (size_t size = 1; size < 80; size++) {
        char text[96];
        memset(text, 'x', sizeof(text));
        nccl_transport_describe(&all, text, size);
        ck_assert(strlen(text) < size && text[size] == 'x');
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nccl_transport");
    TCase *tc = tcase_create("transport");
    tcase_add_loop_test(tc, the_way_is_told_from_the_channels, 0, (int)(sizeof(cases) / sizeof(cases[0])));
    tcase_add_test(tc, an_interface_that_is_there_but_not_used_does_not_count);
    tcase_add_test(tc, a_log_cut_anywhere_is_read_as_far_as_it_goes);
    tcase_add_test(tc, a_description_never_leaves_its_room);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
