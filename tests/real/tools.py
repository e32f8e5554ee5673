"""Real clients as subprocesses: AWS CLI, rclone, s5cmd; and boto3. Each sees one access key and one endpoint."""

import os
import subprocess

from servers import VENV_BIN

COMMAND_S = 240


def environment(client, **more):
    return {
        **os.environ,
        "AWS_ACCESS_KEY_ID": client.access_key,
        "AWS_SECRET_ACCESS_KEY": client.secret_key,
        "AWS_DEFAULT_REGION": client.region,
        "AWS_REGION": client.region,
        **more,
    }


def run(client, *command, check=True, **more):
    done = subprocess.run(command, env=environment(client, **more), capture_output=True, timeout=COMMAND_S)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done


def aws(client, *words, **options):
    return run(client, VENV_BIN / "aws", "--endpoint-url", client.endpoint, *words, **options)


def s5cmd(client, *words, **options):
    return run(client, VENV_BIN / "s5cmd", "--endpoint-url", client.endpoint, *words, **options)


def rclone(client, *words, **options):
    remote = {
        "RCLONE_CONFIG_T_TYPE": "s3",
        "RCLONE_CONFIG_T_PROVIDER": "Other",
        "RCLONE_CONFIG_T_ENDPOINT": client.endpoint,
        "RCLONE_CONFIG_T_REGION": client.region,
        "RCLONE_CONFIG_T_LOCATION_CONSTRAINT": client.region,
        "RCLONE_CONFIG_T_ACCESS_KEY_ID": client.access_key,
        "RCLONE_CONFIG_T_SECRET_ACCESS_KEY": client.secret_key,
    }
    return run(client, VENV_BIN / "rclone", *words, **remote, **options)


def boto3_client(client, **config):
    import boto3
    from botocore.config import Config

    session = boto3.session.Session(client.access_key, client.secret_key, region_name=client.region)
    return session.client("s3", endpoint_url=client.endpoint,
                          config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, **config))
