"""What people use: AWS CLI, boto3, rclone, s5cmd: put, get, range, list, multipart of 64 MiB, delete, in both regions."""

import json

import servers
import tools
from cases import bucket_of, case, fresh
from wire import noise

MIB = 1 << 20
BIG = 64 * MIB


@case(needs="s3")
def aws_cli_put_get_range_list_multipart_delete(site):
    with servers.Scratch() as folder:
        for region, client in site.regions().items():
            bucket, small, big = fresh("aws"), noise(f"aws-{region}", 5_000), noise(f"aws-big-{region}", BIG)
            (folder / "small").write_bytes(small)
            (folder / "big").write_bytes(big)
            tools.aws(client, "s3", "mb", f"s3://{bucket}")
            tools.aws(client, "s3", "cp", "--quiet", folder / "small", f"s3://{bucket}/dir/small")
            tools.aws(client, "s3", "cp", "--quiet", folder / "big", f"s3://{bucket}/dir/big")  # multipart: 8 MiB parts
            head = json.loads(tools.aws(client, "s3api", "head-object", "--bucket", bucket, "--key", "dir/big").stdout)
            assert head["ContentLength"] == BIG and head["ETag"].rstrip('"').endswith("-8"), head
            tools.aws(client, "s3", "cp", "--quiet", f"s3://{bucket}/dir/big", folder / "back")
            assert (folder / "back").read_bytes() == big
            tools.aws(client, "s3api", "get-object", "--bucket", bucket, "--key", "dir/big", "--range",
                      "bytes=8388600-8388699", folder / "part")
            assert (folder / "part").read_bytes() == big[8388600:8388700]
            listed = json.loads(tools.aws(client, "s3api", "list-objects-v2", "--bucket", bucket).stdout)
            assert [(o["Key"], o["Size"]) for o in listed["Contents"]] == [("dir/big", BIG), ("dir/small", 5_000)]
            tools.aws(client, "s3", "rm", "--quiet", "--recursive", f"s3://{bucket}")
            assert b"Contents" not in tools.aws(client, "s3api", "list-objects-v2", "--bucket", bucket).stdout
            tools.aws(client, "s3", "rb", f"s3://{bucket}")


@case(limit_s=50)
def aws_cli_sync_a_second_time_moves_nothing(site):
    """The limit is the point: a final answer to `Expect: 100-continue` without a 100 (an empty record) leaves this client's
    connection confused, and its next request on it waits for 60 s, unless the server closes that connection."""
    with servers.Scratch() as folder:
        for region, client in site.regions().items():
            bucket = bucket_of(client, "sync")
            source = folder / region
            source.mkdir()
            for index in range(12):
                (source / f"record-{index}").write_bytes(noise(f"sync-{index}", 100 * index))
            first = tools.aws(client, "s3", "sync", source, f"s3://{bucket}/a").stdout
            assert first.count(b"upload:") == 12, first
            assert tools.aws(client, "s3", "sync", source, f"s3://{bucket}/a").stdout == b""


@case(needs="s3")
def boto3_put_get_range_list_multipart_delete(site):
    for region, client in site.regions().items():
        s3 = tools.boto3_client(client)
        bucket, big = fresh("boto"), noise(f"boto-{region}", BIG)
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": client.region})
        put = s3.put_object(Bucket=bucket, Key="é ü/ключ+%2B", Body=b"hello", ContentType="application/fhir+json",
                            CacheControl="no-store", Metadata={"note": "one"})
        got = s3.get_object(Bucket=bucket, Key="é ü/ключ+%2B")
        assert got["Body"].read() == b"hello" and got["ETag"] == put["ETag"]
        assert got["ContentType"] == "application/fhir+json" and got["Metadata"] == {"note": "one"}
        assert got["CacheControl"] == "no-store"
        upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
        parts, step = [], 16 * MIB
        for number, start in enumerate(range(0, BIG, step), 1):
            part = s3.upload_part(Bucket=bucket, Key="big", UploadId=upload, PartNumber=number, Body=big[start:start + step])
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        s3.complete_multipart_upload(Bucket=bucket, Key="big", UploadId=upload, MultipartUpload={"Parts": parts})
        assert s3.get_object(Bucket=bucket, Key="big")["Body"].read() == big
        border = s3.get_object(Bucket=bucket, Key="big", Range=f"bytes={step - 7}-{step + 6}")
        assert border["Body"].read() == big[step - 7:step + 7]
        assert border["ContentRange"] == f"bytes {step - 7}-{step + 6}/{BIG}"
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1})
        listed = [(o["Key"], o["Size"]) for page in pages for o in page.get("Contents", [])]
        assert listed == [("big", BIG), ("é ü/ключ+%2B", 5)], listed
        assert bucket in [b["Name"] for b in s3.list_buckets()["Buckets"]]
        gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key, _ in listed]})
        assert len(gone["Deleted"]) == 2 and not gone.get("Errors"), gone
        s3.delete_bucket(Bucket=bucket)


@case(needs="s3")
def boto3_speaks_every_checksum_it_knows(site):
    for client in site.regions().values():
        s3, bucket = tools.boto3_client(client), bucket_of(client, "sums")
        for algorithm in ("CRC32", "SHA1", "SHA256"):  # CRC32C and CRC64NVME need a native library; see cases_wire
            body = noise(algorithm, 200_000)
            s3.put_object(Bucket=bucket, Key=algorithm, Body=body, ChecksumAlgorithm=algorithm)
            assert s3.get_object(Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")["Body"].read() == body


@case(needs="s3")
def rclone_put_get_range_list_multipart_delete(site):
    with servers.Scratch() as folder:
        for region, client in site.regions().items():
            bucket, source = fresh("rclone"), folder / f"in-{region}"
            source.mkdir()
            big = noise(f"rclone-{region}", BIG)
            (source / "big").write_bytes(big)
            (source / "small é").write_bytes(b"x" * 777)
            multipart = ("--s3-upload-cutoff", "16M", "--s3-chunk-size", "16M")
            tools.rclone(client, "mkdir", f"t:{bucket}")
            tools.rclone(client, "copy", source, f"t:{bucket}/d", *multipart)
            tools.rclone(client, "check", "--download", source, f"t:{bucket}/d")
            listed = json.loads(tools.rclone(client, "lsjson", "-R", "--files-only", f"t:{bucket}").stdout)
            assert sorted((o["Path"], o["Size"]) for o in listed) == [("d/big", BIG), ("d/small é", 777)], listed
            piece = tools.rclone(client, "cat", "--offset", "70000", "--count", "100000", f"t:{bucket}/d/big").stdout
            assert piece == big[70_000:170_000]
            tools.rclone(client, "purge", f"t:{bucket}")
            assert bucket not in tools.rclone(client, "lsd", "t:").stdout.decode()


@case(needs="s3")
def s5cmd_put_get_range_list_multipart_delete(site):
    with servers.Scratch() as folder:
        for region, client in site.regions().items():
            bucket, big = fresh("s5"), noise(f"s5-{region}", BIG)
            (folder / "big").write_bytes(big)
            tools.s5cmd(client, "mb", f"s3://{bucket}")
            tools.s5cmd(client, "cp", "--part-size", "16", folder / "big", f"s3://{bucket}/big")
            tools.s5cmd(client, "cp", folder / "big", f"s3://{bucket}/copies/1")
            tools.s5cmd(client, "cp", "--concurrency", "4", f"s3://{bucket}/big", folder / "back")  # ranged GETs
            assert (folder / "back").read_bytes() == big
            listed = tools.s5cmd(client, "--json", "ls", f"s3://{bucket}/*").stdout.splitlines()
            found = sorted((o["key"].rsplit(f"{bucket}/")[1], o["size"]) for o in map(json.loads, listed))
            assert found == [("big", BIG), ("copies/1", BIG)], found
            tools.s5cmd(client, "rm", f"s3://{bucket}/*")
            tools.s5cmd(client, "rb", f"s3://{bucket}")
