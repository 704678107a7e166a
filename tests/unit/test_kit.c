#include "pki.h"

#include <dirent.h>

#include "role/kit.h"
#include "role/validate.h"

static const struct kit_service services[] = {
    {"web", 8080, "127.0.0.1", 80, CONFIG_TCP},
    {"dns", 53, "fd00::1", 53, CONFIG_UDP},
};

static struct kit_request request_for(const char *folder)
{
    return (struct kit_request){
        .folder = folder,
        .dest_host = "dest.example",
        .tunnel_port = 9443,
        .listen_ip = "127.0.0.1",
        .source_name = "edge-1",
        .services = services,
        .service_count = 2,
        .algorithm = CERT_KEY_ED25519,
    };
}

static struct pki_path in_kit(const struct pki_path *kit, const char *name)
{
    struct pki_path path;

    snprintf(path.text, sizeof(path.text), "%.100s/%.50s", kit->text, name);
    return path;
}

static mode_t mode_of(const struct pki_path *kit, const char *name)
{
    struct stat st;

    assert_int_equal(stat(in_kit(kit, name).text, &st), 0);
    return st.st_mode & 07777;
}

static void assert_good(const struct pki_path *kit, const char *name, enum config_role role)
{
    struct problems *problems = problems_new();
    const struct pki_path path = in_kit(kit, name);
    const struct validate_request request = {.path = path.text, .role = role};
    struct config *config;
    struct identity *identity;

    if (validate_load(&config, &identity, &request, problems) != ERR_OK)
        fail_msg("%s", problems_at(problems, 0)->text);
    assert_int_equal(problems_count(problems), 0);
    identity_free(identity);
    config_free(config);
    problems_free(problems);
}

/* Entries of the folder that begin with this. */
static size_t count_named(const char *folder, const char *start)
{
    DIR *dir = opendir(folder);
    size_t count = 0;

    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        count += strncmp(e->d_name, start, strlen(start)) == 0 ? 1 : 0;
    closedir(dir);
    return count;
}

static void both_folders_are_good_and_the_ca_is_apart(void **state)
{
    const struct pki *p = *state;
    const struct pki_path kit = pki_path(p, "whole");
    const struct pki_path slashed = pki_path(p, "whole//");
    const struct kit_request request = request_for(slashed.text);

    assert_int_equal(kit_write(&request, NULL), ERR_OK);
    assert_good(&kit, "dest/config.toml", CONFIG_ROLE_DEST);
    assert_good(&kit, "source/config.toml", CONFIG_ROLE_SOURCE);
    assert_int_equal(mode_of(&kit, "dest/server.key"), 0600);
    assert_int_equal(mode_of(&kit, "source/client.key"), 0600);
    assert_int_equal(mode_of(&kit, "ca/ca.key"), 0600);
    assert_int_equal(mode_of(&kit, "ca"), 0700);
    assert_int_equal(mode_of(&kit, "dest/compose.yml"), 0644);
    assert_int_equal(access(in_kit(&kit, "dest/ca.key").text, F_OK), -1);
    assert_int_equal(access(in_kit(&kit, "source/ca.key").text, F_OK), -1);
    assert_int_equal(count_named(p->dir, "whole"), 1);
}

static void an_existing_ca_signs_and_is_not_copied(void **state)
{
    const struct pki *p = *state;
    const struct pki_path kit = pki_path(p, "signed");
    struct kit_request request = request_for(kit.text);
    X509 *cert;

    request.ca = p->ca.cert;
    request.ca_key = p->ca.key;
    assert_int_equal(kit_write(&request, NULL), ERR_OK);
    assert_int_equal(access(in_kit(&kit, "ca").text, F_OK), -1);
    assert_good(&kit, "source/config.toml", CONFIG_ROLE_SOURCE);
    cert = pki_read_cert(p, "signed/dest/server.crt");
    assert_int_equal(X509_verify(cert, p->ca.key), 1);
    X509_free(cert);
}

static void what_is_there_is_not_touched(void **state)
{
    const struct pki *p = *state;
    const struct pki_path kit = pki_path(p, "taken");
    const struct kit_request request = request_for(kit.text);
    struct err_detail d;

    pki_write(p, "taken", "mine", 4, 0644);
    assert_int_equal(kit_write(&request, &d), ERR_EXISTS);
    assert_non_null(strstr(d.text, "overwritten"));
    assert_int_equal(unlink(kit.text), 0);
    assert_int_equal(mkdir(kit.text, 0755), 0);
    assert_int_equal(kit_write(&request, &d), ERR_EXISTS);
    assert_int_equal(count_named(p->dir, "taken"), 1);
    assert_int_equal(rmdir(kit.text), 0); /* empty as it was */
}

static void nothing_is_left_of_a_failure(void **state)
{
    const struct pki *p = *state;
    const struct pki_path kit = pki_path(p, "failed");
    const struct pki_path lost = pki_path(p, "no/such/kit");
    struct kit_request request = request_for(kit.text);
    struct err_detail d;

    request.tunnel_port = 9090; /* that of the admin endpoint */
    assert_int_equal(kit_write(&request, &d), ERR_USAGE);
    assert_non_null(strstr(d.text, "metrics_port 9090"));
    request = request_for(kit.text);
    request.source_name = "a name of more than the sixty-four characters that one can have in it";
    assert_int_equal(kit_write(&request, &d), ERR_USAGE);
    request.source_name = "edge-1";
    request.folder = lost.text;
    assert_int_equal(kit_write(&request, &d), ERR_NOT_FOUND);
    assert_non_null(strstr(d.text, "--out"));
    request.folder = "";
    assert_int_equal(kit_write(&request, &d), ERR_USAGE);
    assert_int_equal(count_named(p->dir, "failed"), 0);
}

static void a_dest_of_ipv6_listens_on_it(void **state)
{
    const struct pki *p = *state;
    const struct pki_path kit = pki_path(p, "six");
    struct kit_request request = request_for(kit.text);

    request.dest_host = "fd00::7";
    assert_int_equal(kit_write(&request, NULL), ERR_OK);
    assert_good(&kit, "dest/config.toml", CONFIG_ROLE_DEST);
    assert_good(&kit, "source/config.toml", CONFIG_ROLE_SOURCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_folders_are_good_and_the_ca_is_apart),
        cmocka_unit_test(an_existing_ca_signs_and_is_not_copied),
        cmocka_unit_test(what_is_there_is_not_touched),
        cmocka_unit_test(nothing_is_left_of_a_failure),
        cmocka_unit_test(a_dest_of_ipv6_listens_on_it),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
