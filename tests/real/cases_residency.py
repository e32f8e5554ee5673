"""Where records are: each region answers only for its own tenants, tells the truth about its place, and fails alone."""

import json
import socket
import urllib.request

import servers
from cases import bucket_of, case, fresh
from cases_corruption import as_key
from servers import Running
from wire import Client, noise


def pairs(site):
    regions = site.regions()
    return [(regions[a], regions[b]) for a in regions for b in regions if a != b]


@case()
def a_request_at_the_wrong_region_is_redirected_and_writes_nothing(site):
    for home, abroad in pairs(site):
        bucket = bucket_of(home, "home")
        for scope in (abroad.region, home.region):
            astray = Client(abroad.endpoint, scope, home.access_key, home.secret_key)
            for method, path, body in (("GET", f"/{bucket}", b""), ("PUT", f"/{bucket}/k", noise("astray", 100)), ("DELETE", f"/{bucket}", b"")):
                answer = astray.send(method, path, body=body)
                assert (answer.status, answer.code) == (301, "PermanentRedirect"), (method, scope, answer)
                assert answer.headers["x-amz-bucket-region"] == home.region, answer.headers
                assert b"<Endpoint>" in answer.body, answer.body
            head = astray.send("HEAD", f"/{bucket}")
            assert head.status == 301 and head.headers["x-amz-bucket-region"] == home.region and head.body == b""
        assert home.get(bucket, "k").code == "NoSuchKey"
        assert abroad.head(bucket, "k").status == 404


@case()
def a_redirect_comes_before_any_byte_of_the_body_is_welcomed(site):
    for home, abroad in pairs(site):
        astray = Client(abroad.endpoint, home.region, home.access_key, home.secret_key)
        head, _ = astray.prepare("PUT", "/any-bucket/k", {}, {}, noise("x", 9 << 20), "hex")
        with socket.create_connection((astray.host, astray.port), timeout=30) as raw:
            lines = "".join(f"{name}: {value}\r\n" for name, value in {**head, "expect": "100-continue"}.items())
            raw.sendall(f"PUT /any-bucket/k HTTP/1.1\r\n{lines}\r\n".encode())
            assert raw.makefile("rb").readline().split()[1] == b"301"


@case()
def a_client_that_sends_its_body_unasked_still_reads_the_redirect(site):
    for home, abroad in pairs(site):
        astray = Client(abroad.endpoint, home.region, home.access_key, home.secret_key)
        for size in (1_000, 60_000):
            assert astray.put("any-bucket", "k", noise("x", size)).status == 301


@case()
def a_signing_scope_of_another_region_is_refused_with_the_right_one_named(site):
    for home, abroad in pairs(site):
        answer = home.send("GET", "/", scope=abroad.region)
        assert (answer.status, answer.code) == (400, "AuthorizationHeaderMalformed"), answer
        assert f"<Region>{home.region}</Region>".encode() in answer.body, answer.body


@case()
def a_bucket_says_where_it_is_and_cannot_be_put_elsewhere(site):
    for home, abroad in pairs(site):
        bucket = fresh("where")
        for wrong in (abroad.region, "mars-1", "EU", "us-east-1"):
            answer = home.make_bucket(bucket, location=wrong)
            assert answer.status == 400, (wrong, answer)
            assert answer.code in ("IllegalLocationConstraintException", "InvalidLocationConstraint", "MalformedXML"), (wrong, answer)
            if wrong == abroad.region:
                assert answer.code == "IllegalLocationConstraintException", answer
        assert home.send("HEAD", f"/{bucket}").status == 404
        assert home.make_bucket(bucket, location=home.region).status == 200
        location = home.send("GET", f"/{bucket}", query={"location": ""})
        assert location.status == 200 and f">{home.region}</LocationConstraint>".encode() in location.body, location.body
        head = home.send("HEAD", f"/{bucket}")
        assert head.status == 200 and head.headers["x-amz-bucket-region"] == home.region, head.headers


@case()
def answers_name_region_and_class_and_keep_sse_kms_manners(site):
    for region, client in site.regions().items():
        # A tenant whose default class is the lowest, since the strictest of all that were named wins.
        tenant = fresh("mild")
        site.verb("tenant", "create", tenant, "--default-class", "operational", region=region)
        client = as_key(client, *site.new_credential(tenant, region))
        bucket = bucket_of(client, "manners")
        for name in ("operational", "personal", "health", "health-sensitive"):
            put = client.put(bucket, name, b"x", x_amz_meta_terroir_class=name)
            for answer in (put, client.get(bucket, name), client.head(bucket, name)):
                assert answer.status == 200, answer
                assert answer.headers["x-terroir-region"] == client.region, answer.headers
                assert answer.headers["x-terroir-class"] == name, answer.headers
                assert answer.headers["x-amz-server-side-encryption"] == "aws:kms", answer.headers
                assert answer.headers.get("x-amz-server-side-encryption-aws-kms-key-id"), answer.headers
        assert client.put(bucket, "k", b"x", x_amz_meta_terroir_class="no-such-class").status == 400
        assert client.get(bucket, "k").code == "NoSuchKey"


@case()
def a_tenant_sees_neither_the_names_nor_the_buckets_of_another(site):
    for region, client in site.regions().items():
        bucket = bucket_of(client, "mine")
        client.put(bucket, "k", b"private")
        tenant = fresh("other")
        site.verb("tenant", "create", tenant, region=region)
        other = as_key(client, *site.new_credential(tenant, region))
        assert bucket.encode() not in other.send("GET", "/").body
        for answer in (other.get(bucket, "k"), other.put(bucket, "k", b"x"), other.delete(bucket, "k"), other.list_page(bucket)):
            assert (answer.status, answer.code) == (403, "AccessDenied"), answer
            assert b"private" not in answer.body
        assert other.make_bucket(bucket).status == 409
        assert client.get(bucket, "k").body == b"private"


@case(needs="own")
def a_region_whose_store_is_gone_answers_503_alone_and_recovers():
    with Running() as server:
        for home, abroad in pairs(server):
            bucket, foreign = bucket_of(home, "down"), bucket_of(abroad, "up")
            for client, name in ((home, bucket), (abroad, foreign)):
                assert client.put(name, "k", b"x" * 5_000).status == 200
            store = server.folder(home.region, "store")
            away = store.with_name("store.away")
            store.rename(away)
            try:
                for answer in (home.get(bucket, "k"), home.put(bucket, "new", b"y" * 5_000)):
                    assert answer.status == 503, answer
                assert not store.exists(), "a lost store was made anew"
                assert abroad.get(foreign, "k").status == 200 and abroad.put(foreign, "new", b"y").status == 200
            finally:
                away.rename(store)
            assert home.get(bucket, "k").body == b"x" * 5_000
            assert home.get(bucket, "new").code == "NoSuchKey"


@case()
def dev_offers_both_regions_on_the_ports_it_promises(site):
    known = site.credentials()
    base = site.port_base
    for offset, region in ((0, "fr"), (10, "us")):
        urls = known["regions"][region]
        for shift, name in enumerate(("s3", "control", "observe")):
            assert urls[name].rstrip("/") == f"http://127.0.0.1:{base + offset + shift}", urls
        assert servers.answers_200(urls["observe"] + "/live") and servers.answers_200(urls["observe"] + "/ready")
        with urllib.request.urlopen(urls["observe"] + "/metrics") as reply:
            assert reply.status == 200
    assert {tenant["region"] for tenant in known["tenants"]} == {"fr", "us"}, json.dumps([t["id"] for t in known["tenants"]])
