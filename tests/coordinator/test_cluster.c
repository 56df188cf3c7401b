/* SPDX-License-Identifier: MIT
 *
 * The parts of a cluster run that need no cluster: lists of hosts, Slurm's words for time and jobs, the batch
 * script, meters and networks described by made-up folders, and what is made of measurements.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/cluster/energy.h"
#include "coordinator/cluster/hostlist.h"
#include "coordinator/cluster/network.h"
#include "coordinator/cluster/scale.h"
#include "coordinator/cluster/slurm_record.h"
#include "coordinator/cluster/slurm_script.h"
#include "tests/coordinator/program.h"
#include "tests/suite.h"

static struct text text;

static void setup(void)
{
    program_folder_enter();
    text_init(&text);
}

static void teardown(void)
{
    text_release(&text);
    program_folder_leave();
}

static const char *expanded(const char *list)
{
    struct hostlist hosts;
    struct muster_error err;
    text_clear(&text);
    if (hostlist_expand(list, &hosts, &err) != MUSTER_OK)
        text_print(&text, "refused");
    else
        for (int i = 0; i < hosts.count; i++)
            text_print(&text, "%s%s", i > 0 ? " " : "", hosts.names[i]);
    hostlist_release(&hosts);
    return text.data;
}

START_TEST(slurms_lists_of_hosts_are_written_out)
{
    ck_assert_str_eq(expanded("login"), "login");
    ck_assert_str_eq(expanded("node[1-3]"), "node1 node2 node3");
    ck_assert_str_eq(expanded("node[08-11,2]-ib,gpu-1.x"),
                     "node08-ib node09-ib node10-ib node11-ib node2-ib gpu-1.x");
    ck_assert_str_eq(expanded("r[1-2]n[01,3]"), "r1n01 r1n3 r2n01 r2n3");
    ck_assert_str_eq(expanded("[1-2]"), "1 2");
}
END_TEST

START_TEST(other_texts_are_no_lists_of_hosts)
{
    static const char *const wrong[] = {
        "",
        ",",
        "a,",
        "a,,b",
        "node[",
        "node[]",
        "node[1",
        "node[1-]",
        "node[2-1]",
        "node[a]",
        "node[1;2]",
        "a b",
        "-oProxy=x",
        "a;b",
        "$(id)",
        "node[1-99999999]",
        "n[1]]",
        "[1-9][1-9][1-9][1-9][1-9][1-9]",
        "n[1234567890]",
        "a/b",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        ck_assert_msg(strcmp(expanded(wrong[i]), "refused") == 0, "\"%s\" became %s", wrong[i], text.data);
}
END_TEST

START_TEST(slurms_counts_are_written_out)
{
    int counts[4];
    ck_assert_int_eq(hostlist_counts("2(x3),1", 4, counts, NULL), MUSTER_OK);
    ck_assert(counts[0] == 2 && counts[1] == 2 && counts[2] == 2 && counts[3] == 1);
    ck_assert_int_eq(hostlist_counts("8", 1, counts, NULL), MUSTER_OK);
    static const char *const wrong[] = {"",          "2", "2(x5)", "2(x3)",  "2(x3),",
                                        "2(x3),1,1", "a", "0(x4)", "2(x-4)", "2 (x4)"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        ck_assert_msg(hostlist_counts(wrong[i], 4, counts, NULL) == MUSTER_ERR_BAD_INPUT, "\"%s\"", wrong[i]);
}
END_TEST

START_TEST(slurms_durations_are_read)
{
    ck_assert_int_eq(slurm_duration_s("59"), 59);
    ck_assert_int_eq(slurm_duration_s("1:00"), 60);
    ck_assert_int_eq(slurm_duration_s("2:03:04"), 7384);
    ck_assert_int_eq(slurm_duration_s("1-02:03:04"), 93784);
    static const char *const wrong[] = {"", "UNLIMITED", "INVALID", "-1:00", "1:2:3:4", "1:", "x-1", "1-"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        ck_assert_msg(slurm_duration_s(wrong[i]) == -1, "\"%s\"", wrong[i]);
}
END_TEST

START_TEST(only_numbers_of_jobs_reach_slurms_commands)
{
    ck_assert(slurm_id_is_safe("1") && slurm_id_is_safe("12_34"));
    static const char *const wrong[] = {"", "-1", "1 2", "1;2", "all", "1_", "_1", "1_2_3", "1,2", "1[2-3]"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        ck_assert_msg(!slurm_id_is_safe(wrong[i]), "\"%s\"", wrong[i]);
}
END_TEST

START_TEST(the_newest_submission_is_found_again)
{
    struct slurm_record record = {.id = "12", .submitted = "2026-01-02T03:04:05.678Z", .log = "/a b/12.log"},
                        found;
    char mark[SLURM_FIELD_SIZE];
    ck_assert_int_eq(slurm_record_newest("run", &found, NULL), MUSTER_OK);
    ck_assert_str_eq(found.id, "");
    ck_assert_int_eq(slurm_record_add("run", &record, NULL), MUSTER_OK);
    strcpy(record.id, "13_2");
    ck_assert_int_eq(slurm_record_add("run", &record, NULL), MUSTER_OK);
    ck_assert_int_eq(slurm_record_newest("run", &found, NULL), MUSTER_OK);
    ck_assert_str_eq(found.id, "13_2");
    ck_assert_str_eq(found.submitted, record.submitted);
    ck_assert_str_eq(found.log, record.log);
    program_write("run/slurm/jobs", "12\tx\ty\n--version\tx\ty\n");
    ck_assert_int_eq(slurm_record_newest("run", &found, NULL), MUSTER_ERR_CORRUPT);
    ck_assert(!slurm_record_marked("run", "requeued", "12", mark));
    ck_assert_int_eq(slurm_record_mark("run", "requeued", "12", "40", NULL), MUSTER_OK);
    ck_assert(slurm_record_marked("run", "requeued", "12", mark));
    ck_assert_str_eq(mark, "40");
}
END_TEST

/* The job with these lines more; the errors, when it is refused, go to `errors`. */
static struct job *job_or_errors(const char *lines, struct text *errors)
{
    struct text yaml;
    struct job_report report;
    struct job *job = NULL;
    text_init(&yaml);
    job_report_init(&report);
    text_print(&yaml,
               "model: {type: gpt, num_layers: 1, hidden_size: 16, num_heads: 2, vocab_size: 256}\n"
               "data: {train: a.bin, seq_len: 16}\noptimizer: {lr: 1e-3}\n"
               "train: {micro_batch_size: 1, global_batch_size: 8, max_steps: 10}\n%s",
               lines);
    job_parse("job.yaml", yaml.data, yaml.length, &report, &job, NULL);
    text_print(errors, "%s", report.errors.data);
    job_report_release(&report);
    text_release(&yaml);
    return job;
}

static struct job *job_of(const char *lines)
{
    struct text errors;
    text_init(&errors);
    struct job *job = job_or_errors(lines, &errors);
    ck_assert_msg(job != NULL, "%s", errors.data);
    text_release(&errors);
    return job;
}

START_TEST(what_another_program_could_mistake_is_refused)
{
    static const struct {
        const char *lines, *error;
    } wrong[] = {
        {"slurm: {partition: 'a b'}\n", "slurm.partition: "},
        {"slurm: {account: --wrap=x}\n", "slurm.account: "},
        {"slurm: {exclude: '$(id)'}\n", "slurm.exclude: "},
        {"slurm: {mail_user: \"a\\nb\"}\n", "slurm.mail_user: "},
        {"slurm: {time: '1 day'}\n", "slurm.time: "},
        {"slurm: {time: '1:2:3:4'}\n", "slurm.time: "},
        {"slurm: {options: [--wrap=x]}\n", "slurm.options: "},
        {"slurm: {options: [--outp=x]}\n", "slurm.options: "},
        {"slurm: {options: [-x]}\n", "slurm.options: "},
        {"slurm: {options: ['--a b']}\n", "slurm.options: "},
        {"slurm: {options: {a: b}}\n", "slurm.options: expected a text or a list"},
        {"slurm: {modules: [-x]}\n", "slurm.modules: "},
        {"slurm: {environment: {1A: x}}\n", "slurm.environment: "},
        {"slurm: {environment: {A=B: x}}\n", "slurm.environment[0]: "},
        {"slurm: {environment: {A: [x]}}\n", "slurm.environment[0]: "},
        {"slurm: {nodes: 0}\n", "slurm.nodes: "},
        {"cluster: {interface: 'ib0; x'}\n", "cluster.interface: "},
        {"cluster: {forward: [A=B]}\n", "cluster.forward: "},
        {"cluster: {launcher: ssh}\n", "cluster.launcher: unknown value"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        text_clear(&text);
        struct job *job = job_or_errors(wrong[i].lines, &text);
        ck_assert_msg(job == NULL, "accepted: %s", wrong[i].lines);
        ck_assert_msg(strstr(text.data, wrong[i].error) != NULL, "%s gave: %s", wrong[i].lines, text.data);
    }
}
END_TEST

START_TEST(a_job_with_lists_is_written_and_read_back)
{
    struct text first, second;
    struct job_report report;
    struct job *again = NULL;
    text_init(&first);
    text_init(&second);
    job_report_init(&report);
    struct job *job = job_of("slurm: {time: 2-03, modules: gcc, environment: {A: 'x \"y\"', B: z}, "
                             "options: [--exclusive, '--comment=a b']}\ncluster: {forward: [X, Y]}\n");
    ck_assert_int_eq(job->slurm.environment.count, 2);
    ck_assert_str_eq(job->slurm.environment.items[0], "A=x \"y\"");
    ck_assert_str_eq(job->slurm.modules.items[0], "gcc");
    ck_assert_int_eq(job_write_yaml(job, &first, NULL), MUSTER_OK);
    ck_assert_int_eq(job_parse("job.yaml", first.data, first.length, &report, &again, NULL), MUSTER_OK);
    ck_assert_int_eq(job_write_yaml(again, &second, NULL), MUSTER_OK);
    ck_assert_str_eq(first.data, second.data);
    job_report_release(&report);
    job_destroy(job);
    job_destroy(again);
    text_release(&first);
    text_release(&second);
}
END_TEST

static const char *script_of(const char *slurm, const char *const *paths, int count)
{
    struct job *job = job_of(slurm);
    struct muster_error err;
    struct slurm_script script = {.job = job,
                                  .muster = "/bin/mu ster",
                                  .directory = "/a\"b",
                                  .log = "/l/%j.log",
                                  .job_paths = paths,
                                  .job_count = count};
    text_clear(&text);
    if (slurm_script_write(&script, &text, &err) != MUSTER_OK) {
        text_clear(&text);
        text_print(&text, "%s", err.text);
    }
    job_destroy(job);
    return text.data;
}
#define script_of(slurm, ...)                                                                                \
    script_of(slurm, (const char *const[]){__VA_ARGS__},                                                     \
              (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

START_TEST(every_key_has_its_place_in_the_script)
{
    script_of(
        "name: a \"b\" $(c)\n"
        "slurm: {partition: gpu, account: me, qos: high, nodes: 2, gpus_per_node: 4, cpus_per_task: 6, mem: "
        "64G, "
        "time: 1-02:00:00, signal_margin: 90, requeue: false, exclude: 'n[1,2]', constraint: a100|h100, "
        "mail_user: me@x.org, mail_type: 'END,FAIL', modules: [gcc/12, \"it's\"], "
        "environment: {A: 1, B: '$(x)'}, options: ['--reservation=a \"b\"', --exclusive]}\n",
        "/jobs/a b.yaml");
    static const char *const lines[] = {
        "#!/bin/bash\n",
        "#SBATCH \"--job-name=a \\\"b\\\" $(c)\"\n",
        "#SBATCH \"--partition=gpu\"\n",
        "#SBATCH \"--account=me\"\n",
        "#SBATCH \"--qos=high\"\n",
        "#SBATCH --nodes=2\n",
        "#SBATCH --ntasks-per-node=4\n",
        "#SBATCH --gpus-per-node=4\n",
        "#SBATCH --cpus-per-task=6\n",
        "#SBATCH \"--mem=64G\"\n",
        "#SBATCH \"--time=1-02:00:00\"\n",
        "#SBATCH \"--exclude=n[1,2]\"\n",
        "#SBATCH \"--constraint=a100|h100\"\n",
        "#SBATCH \"--mail-user=me@x.org\"\n",
        "#SBATCH \"--mail-type=END,FAIL\"\n",
        "#SBATCH \"--chdir=/a\\\"b\"\n",
        "#SBATCH \"--output=/l/%j.log\"\n",
        "#SBATCH --signal=B:USR1@90\n",
        "#SBATCH --no-requeue\n",
        "#SBATCH --no-kill\n",
        "#SBATCH \"--reservation=a \\\"b\\\"\"\n",
        "#SBATCH \"--exclusive\"\n",
        "module load gcc/12 || exit 2\n",
        "module load 'it'\\''s' || exit 2\n",
        "export A=1\n",
        "export B='$(x)'\n",
        "exec '/bin/mu ster' run '/jobs/a b.yaml' --requeue\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        program_expect(&text, lines[i]);
    ck_assert_ptr_null(strstr(strstr(text.data, "set -u"), "#SBATCH"));
}
END_TEST

START_TEST(what_is_not_asked_for_is_left_to_the_site)
{
    script_of("", "/j.yaml");
    static const char *const absent[] = {"partition", "account", "gpus",  "--mem", "--time",
                                         "mail",      "no-kill", "array", "module"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        ck_assert_msg(strstr(text.data, absent[i]) == NULL, "%s is in:\n%s", absent[i], text.data);
    program_expect(&text, "#SBATCH --nodes=1\n#SBATCH --ntasks-per-node=1\n");
    program_expect(&text, "#SBATCH --requeue\n");
}
END_TEST

START_TEST(an_array_picks_its_job_by_number)
{
    script_of("", "/a.yaml", "/b $(c).yaml");
    program_expect(&text, "#SBATCH --array=0-1\n");
    program_expect(&text, "jobs=(\n    /a.yaml\n    '/b $(c).yaml'\n)\n");
    program_expect(&text, " run \"${jobs[SLURM_ARRAY_TASK_ID]}\" --requeue\n");
}
END_TEST

START_TEST(a_line_break_never_gets_into_a_script)
{
    program_expect((script_of("", "/a\n#SBATCH --wrap=x"), &text), "line break");
    ck_assert_ptr_null(strstr(text.data, "#SBATCH"));
    text_clear(&text);
    ck_assert_int_eq(slurm_script_log_print(&text, "/100%/%j", "%j.log", NULL), MUSTER_OK);
    ck_assert_str_eq(text.data, "/100%%/%%j/%j.log");
    ck_assert_int_eq(slurm_script_log_print(&text, "/a\\b", "%j.log", NULL), MUSTER_ERR_UNSUPPORTED);
}
END_TEST

static void write_deep(const char *path, const char *content)
{
    char folder[FS_PATH_MAX];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    ck_assert_int_eq(fs_folder_create(folder, NULL), MUSTER_OK);
    program_write(path, content);
}

START_TEST(the_network_is_named)
{
    network_print("sys", NULL, &text);
    ck_assert_str_eq(text.data, "none that is up");
    write_deep("sys/class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE\n");
    write_deep("sys/class/infiniband/mlx5_0/ports/1/link_layer", "InfiniBand\n");
    write_deep("sys/class/infiniband/mlx5_0/ports/1/rate", "200 Gb/sec (4X HDR)\n");
    write_deep("sys/class/infiniband/mlx5_1/ports/1/state", "1: DOWN\n");
    write_deep("sys/class/net/eth0/operstate", "up\n");
    write_deep("sys/class/net/eth0/type", "1\n");
    write_deep("sys/class/net/eth0/speed", "10000\n");
    write_deep("sys/class/net/eth0/device/vendor", "x\n");
    write_deep("sys/class/net/docker0/operstate", "up\n");
    write_deep("sys/class/net/docker0/type", "1\n");
    text_clear(&text);
    network_print("sys", NULL, &text);
    ck_assert_str_eq(text.data, "InfiniBand mlx5_0 (200 Gb/sec (4X HDR)), Ethernet eth0 (10000 Mb/s)");
    text_clear(&text);
    network_print("sys", "docker0", &text);
    ck_assert_str_eq(text.data, "InfiniBand mlx5_0 (200 Gb/sec (4X HDR)), Ethernet docker0");
}
END_TEST

START_TEST(joules_are_those_of_the_packages_and_survive_a_meter_that_turns_over)
{
    struct energy before, after;
    energy_read(&before, "sys");
    ck_assert_int_eq(before.count, 0);
    ck_assert(energy_between_j(&before, &before) < 0);
    for (int i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, "sys/class/powercap/intel-rapl:%d/name", i);
        write_deep(path, i == 0 ? "package-0\n" : "psys\n");
        snprintf(path, sizeof path, "sys/class/powercap/intel-rapl:%d/max_energy_range_uj", i);
        write_deep(path, "10000000\n");
        snprintf(path, sizeof path, "sys/class/powercap/intel-rapl:%d/energy_uj", i);
        write_deep(path, "9000000\n");
    }
    write_deep("sys/class/powercap/intel-rapl:0:0/name", "core\n");
    energy_read(&before, "sys");
    ck_assert_int_eq(before.count, 1);
    write_deep("sys/class/powercap/intel-rapl:0/energy_uj", "1500000\n");
    energy_read(&after, "sys");
    ck_assert_double_eq_tol(energy_between_j(&before, &after), 2.5, 1e-9);
}
END_TEST

static void metrics_write(const char *path, const double *step_ms, int count)
{
    struct text lines;
    text_init(&lines);
    for (int i = 0; i < count; i++)
        text_print(&lines, "{\"step\": %d, \"loss\": 1, \"step_ms\": %.3f, \"reduce_ms\": %.3f}\n", i + 1,
                   step_ms[i], step_ms[i] / 10);
    text_print(&lines, "{\"step\": %d, \"checkpoint_ms\": 5}\n", count);
    program_write(path, lines.data);
    text_release(&lines);
}

START_TEST(measurements_become_medians_and_speed_ups)
{
    struct scale scale;
    const double one[] = {900, 100, 104, 96, 100, 108}, four[] = {900, 40, 40, 44, 40, 36};
    ck_assert_int_eq(scale_init(&scale, "a'b\n`id`", false, (const int[]){4, 1, 4}, 3, NULL), MUSTER_OK);
    ck_assert_int_eq(scale.count, 2);
    metrics_write("one", one, 6);
    metrics_write("four", four, 6);
    ck_assert_int_eq(scale_point_read(&scale.points[0], "one", 1, NULL), MUSTER_OK);
    ck_assert_int_eq(scale_point_read(&scale.points[1], "four", 1, NULL), MUSTER_OK);
    ck_assert_int_eq(scale_point_read(&scale.points[1], "four", 9, NULL), MUSTER_ERR_PEER);
    scale.points[0].samples = scale.points[1].samples = 8;
    scale.points[0].steps_run = 10;
    scale.points[0].joules = 25;
    scale_summarise(&scale);
    ck_assert_double_eq_tol(scale.points[0].median_ms, 100, 1e-9);
    ck_assert_double_eq_tol(scale.points[0].low_ms, 100, 1e-9);
    ck_assert_double_eq_tol(scale.points[0].high_ms, 104, 1e-9);
    ck_assert_double_eq_tol(scale.points[0].rate, 80, 1e-9);
    ck_assert_double_eq_tol(scale.points[1].speedup, 2.5, 1e-9);
    ck_assert_double_eq_tol(scale.points[1].efficiency, 0.625, 1e-9);
    ck_assert_double_eq_tol(scale.points[1].exposed_ms, 4, 1e-9);
    scale_print_csv(&scale, &text);
    program_expect(&text, "strong,1,8,5,100.000,100.000,104.000,80.000,1.0000,1.0000,10.000,2.500,\n");
    program_expect(&text, "strong,4,8,5,40.000,40.000,40.000,200.000,2.5000,0.6250,4.000,");
    text_clear(&text);
    scale_print(&scale, &text);
    program_expect(&text, "strong scaling");
    text_clear(&text);
    scale_print_gnuplot(&scale, SCALE_PLOT_SPEEDUP, &text);
    program_expect(&text, "a_b__id_ (strong scaling)");
    ck_assert_ptr_null(strchr(text.data, '`'));
    scale_release(&scale);
}
END_TEST

START_TEST(weak_scaling_counts_samples_not_steps)
{
    struct scale scale;
    const double one[] = {100, 100}, two[] = {125, 125};
    ck_assert_int_eq(scale_init(&scale, "a", true, (const int[]){1, 2}, 2, NULL), MUSTER_OK);
    metrics_write("one", one, 2);
    metrics_write("two", two, 2);
    ck_assert_int_eq(scale_point_read(&scale.points[0], "one", 0, NULL), MUSTER_OK);
    ck_assert_int_eq(scale_point_read(&scale.points[1], "two", 0, NULL), MUSTER_OK);
    scale.points[0].samples = 8;
    scale.points[1].samples = 16;
    scale_summarise(&scale);
    ck_assert_double_eq_tol(scale.points[1].speedup, 1.6, 1e-9);
    ck_assert_double_eq_tol(scale.points[1].efficiency, 0.8, 1e-9);
    scale_release(&scale);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster");
    TCase *cases = tcase_create("cluster");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, slurms_lists_of_hosts_are_written_out);
    tcase_add_test(cases, other_texts_are_no_lists_of_hosts);
    tcase_add_test(cases, slurms_counts_are_written_out);
    tcase_add_test(cases, slurms_durations_are_read);
    tcase_add_test(cases, only_numbers_of_jobs_reach_slurms_commands);
    tcase_add_test(cases, the_newest_submission_is_found_again);
    tcase_add_test(cases, what_another_program_could_mistake_is_refused);
    tcase_add_test(cases, a_job_with_lists_is_written_and_read_back);
    tcase_add_test(cases, every_key_has_its_place_in_the_script);
    tcase_add_test(cases, what_is_not_asked_for_is_left_to_the_site);
    tcase_add_test(cases, an_array_picks_its_job_by_number);
    tcase_add_test(cases, a_line_break_never_gets_into_a_script);
    tcase_add_test(cases, the_network_is_named);
    tcase_add_test(cases, joules_are_those_of_the_packages_and_survive_a_meter_that_turns_over);
    tcase_add_test(cases, measurements_become_medians_and_speed_ups);
    tcase_add_test(cases, weak_scaling_counts_samples_not_steps);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
