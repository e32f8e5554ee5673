"""Nothing readable rests where it should not: markers written as body, name and metadata, then looked for in every file.

Where each may lie: a body, a metadata value or a subject nowhere at all; a bucket's or key's name only in the index of its
own region. Nothing of one region in any file of another. No marker in a log, at the most verbose level, although bad
signatures and malformed XML were among the requests.
"""

import secrets

from cases import case, note
from cases_corruption import as_key
from scan import Scan
from servers import Running
from wire import STREAMING_SIGNED, Broken, Client, noise

CLASSES = ("operational", "personal", "health", "health-sensitive")


def marker(region, what):
    # Lowercase letters and digits: legal in bucket names and header values, and the same after percent-encoding.
    return f"mark{region}{what}{secrets.token_hex(6)}"


@case(needs="own", limit_s=400)
def markers_are_in_no_store_no_log_and_no_other_region():
    with Running(log_level="trace") as server:
        clients = server.regions()
        secret = {region: [marker(region, what) for what in ("body", "meta", "subject", "type")] for region in clients}
        names = {region: [marker(region, what) for what in ("bucket", "key", "folder", "upload")] for region in clients}
        written = 0
        others = list(clients)[1:] + list(clients)[:1]
        for (region, client), other in zip(clients.items(), others):
            # Their own default class is the lowest, so that each class really is what the header says.
            server.verb("tenant", "create", "marked", "--default-class", "operational", region=region)
            written += write_everywhere(as_key(client, *server.new_credential("marked", region)), secret[region], names[region])
            # The same names knock at the other region's door, where nothing about them may stay.
            astray = Client(clients[other].endpoint, other, client.access_key, client.secret_key)
            try:
                astray.put(names[region][0], names[region][1], secret[region][0].encode() * 50, x_amz_meta_note=secret[region][1])
            except Broken:
                pass
        assert server.stop() == 0, server.tail()
        look(server, secret, names, written)


def write_everywhere(client, secret, names):
    body_mark, meta, subject, kind = secret
    bucket, key, folder, upload = names
    assert client.make_bucket(bucket).status == 200
    headers = {"x_amz_meta_note": meta, "x_amz_meta_terroir_subject": subject, "content_type": f"application/{kind}",
               "content_disposition": f'attachment; filename="{meta}.dcm"', "cache_control": f"no-store, x={meta}"}
    written = 0
    for name in CLASSES:
        for size in (0, 100, 70_000, 9 << 20):
            body = (body_mark.encode() + b" ") * (size // 32 + 1)
            put = client.put(bucket, f"{folder}/{name}/{key}-{size}", body, x_amz_meta_terroir_class=name, **headers)
            assert put.status == 200, (name, size, put, put.body)
            assert put.headers.get("x-terroir-class") == name, put.headers
            written += len(body)
            assert client.get(bucket, f"{folder}/{name}/{key}-{size}").body == body
    assert client.put(bucket, key, body_mark.encode() * 5_000, mode=STREAMING_SIGNED).status == 200
    started = client.send("POST", f"/{bucket}/{upload}", query={"uploads": ""}, headers={"x-amz-meta-note": meta})
    assert started.status == 200, started
    upload_id = started.body.split(b"<UploadId>")[1].split(b"<")[0].decode()
    part = client.send("PUT", f"/{bucket}/{upload}", query={"partNumber": "1", "uploadId": upload_id}, body=body_mark.encode() * 9_000)
    assert part.status == 200, part
    # Requests that fail are the ones a careless log quotes.
    client.send("PUT", f"/{bucket}/{key}", body=body_mark.encode(), tamper="signature", headers={"x-amz-meta-note": meta})
    client.put(bucket, key, body_mark.encode() * 100, content_md5="AAAAAAAAAAAAAAAAAAAAAA==", x_amz_meta_note=meta)
    client.send("POST", f"/{bucket}", query={"delete": ""}, body=f"<Delete><Object><Key>{key}</Key><oops {body_mark}".encode())
    client.send("GET", f"/{bucket}/{key}", query={"unknown": meta})
    client.get(bucket, f"{key}-absent")
    client.send("PUT", f"/{bucket}/{key}", headers={"x-amz-meta-terroir-class": kind}, body=body_mark.encode())
    client.list_page(bucket, prefix=f"{folder}/", delimiter="/")
    return written


def look(server, secret, names, written):
    everything = [mark for marks in (*secret.values(), *names.values()) for mark in marks]
    for region in secret:
        # Clear names belong in their own region's index, so finding them there also shows that the search can see.
        index = server.folder(region, "index")
        assert Scan(names[region]).under(index), f"no name in {region}'s index: is the search looking at the right files?"
        assert not (hits := Scan(secret[region]).under(index)), hits[:5]
        for other in secret:
            if other != region:
                assert not (hits := Scan(secret[other] + names[other]).under(server.data_dir / region)), hits[:5]
    scan = Scan(everything)
    missed = scan.positive_control(server.data_dir)
    assert not missed, f"the search is blind to {missed[:5]}"
    indexes = [server.folder(region, "index") for region in secret]
    hits = scan.under(server.data_dir, skip=indexes) + [f"log: {what}" for what in scan.inside(server.log)]
    assert not hits, hits[:10]
    stored = sum(path.stat().st_size for region in secret for path in server.folder(region, "store").rglob("*") if path.is_file())
    assert stored > written, f"only {stored} of {written} bytes in the stores: the bodies went elsewhere"
    note(f"{len(everything)} markers in {len(scan.patterns)} forms, {scan.files} files, {scan.bytes >> 20} MiB, log {server.log.stat().st_size} bytes")


@case(needs="own")
def secrets_of_credentials_are_in_no_file_but_the_one_that_shows_them():
    with Running(log_level="trace") as server:
        known = server.credentials()
        keys = [tenant["secret_key"] for tenant in known["tenants"]]
        for region, client in server.regions().items():
            _, secret = server.new_credential(client.tenant, region)
            keys.append(secret)
            bucket = f"cred-{region}-{secrets.token_hex(4)}"
            client.make_bucket(bucket)
            client.send("PUT", f"/{bucket}/k", body=noise("x", 10), tamper="signature")
        mode = (server.data_dir / "dev-credentials.json").stat().st_mode & 0o777
        assert mode == 0o600, oct(mode)
        assert server.stop() == 0, server.tail()
        shown = server.data_dir / "dev-credentials.json"
        scan = Scan(keys)
        assert any(scan.inside(shown)), "the demo secrets are not where they are shown"
        hits = scan.under(server.data_dir, skip=[shown]) + [f"log: {what}" for what in scan.inside(server.log)]
        # `dev` prints its demo tenants' keys on purpose, to be pasted; a secret from the command line is printed nowhere.
        hits = [hit for hit in hits if not (hit.startswith("log: ") and any(key in hit for key in keys[:len(known["tenants"])]))]
        assert not hits, hits[:5]
        note(f"{len(keys)} secrets, {scan.files} files")
