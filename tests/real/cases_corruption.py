"""A store that lies: bytes flipped, blobs swapped, renamed, moved, cut. The answer is an error, never wrong bytes."""

import random
import shutil

from cases import bucket_of, case, note, seed_of
from servers import Running
from wire import Broken, noise

SEGMENT = 65_568  # a sealed segment as it lies in a blob (docs/format.md)
SIZES = (0, 40, 5_000, 65_536, 200_000, (8 << 20) + 100_000)
FLIPS_PER_FILE = 60


class Stored:
    """Objects, the store's files, and which object each file belongs to (found by taking the file away)."""

    def __init__(self, server, region, client, word):
        self.client, self.store = client, server.folder(region, "store")
        before = self.files()
        self.bucket = bucket_of(client, word)
        self.objects = {f"{word}-{size}": noise(f"{word}-{region}-{size}", size) for size in SIZES}
        for key, body in self.objects.items():
            assert client.put(self.bucket, key, body).status == 200, key
        self.owner = {}
        for path in sorted(self.files() - before):
            away = path.with_name(path.name + ".away")
            path.rename(away)
            owners = [key for key in self.objects if not self.reads(key)]
            away.rename(path)
            assert len(owners) <= 1, f"{path.name} belongs to {owners}: a blob belongs to one version"
            # A version record that stands in a blob of its own is there for a lost index; reads have it from the index.
            if owners:
                self.owner[path] = owners[0]
        missing = {key for key, body in self.objects.items() if body} - set(self.owner.values())
        assert not missing, f"no file in the store belongs to {missing}"

    def files(self):
        return {path for path in self.store.rglob("*") if path.is_file() and path.stat().st_size > 64}

    def reads(self, key):
        """True if the object reads back whole and right, False if it is refused or cut off. Wrong bytes end the case."""
        try:
            answer = self.client.get(self.bucket, key)
        except Broken:
            return False
        if answer.status == 200:
            assert answer.body == self.objects[key], f"WRONG BYTES for {key}"
            return True
        assert answer.status >= 500, (key, answer)
        return False

    def all_read(self):
        for key in self.objects:
            assert self.reads(key), f"{key} does not read back after the damage was undone"

    def damaged(self, path, damage, what):
        """Applies `damage` to a file, expects its object to fail, and undoes it."""
        keep = path.with_name(path.name + ".keep")
        shutil.copy2(path, keep)
        try:
            damage(path)
            assert not self.reads(self.owner[path]), f"{what} of {path.name} ({self.owner[path]}) went unnoticed"
        finally:
            keep.replace(path)


def positions(chance, size):
    """Every region of a file: both ends, each side of every segment border, and random places."""
    borders = [edge + offset for edge in range(0, size + SEGMENT, SEGMENT) for offset in (-17, -16, -1, 0, 1, 15, 16)]
    fixed = [at for at in [*range(0, 96, 5), *borders, size - 1, size - 2, size // 2] if 0 <= at < size]
    picked = chance.sample(sorted(set(fixed)), min(len(set(fixed)), FLIPS_PER_FILE * 2 // 3))
    return sorted(set(picked + [chance.randrange(size) for _ in range(FLIPS_PER_FILE // 3)] + [0, size - 1]))


def flip(at, bit):
    def damage(path):
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ (1 << bit)]))
    return damage


def cut(size):
    return lambda path: path.open("r+b").truncate(size)


@case(needs="own", limit_s=500)
def any_flipped_byte_in_a_blob_is_an_error_never_bytes():
    chance = random.Random(seed_of("flip"))
    with Running() as server:
        for region, client in server.regions().items():
            stored = Stored(server, region, client, "flip")
            flips = 0
            for path in sorted(stored.owner):
                for at in positions(chance, path.stat().st_size):
                    stored.damaged(path, flip(at, chance.randrange(8)), f"byte {at}")
                    flips += 1
            stored.all_read()
            note(f"{region}: {flips} flips in {len(stored.owner)} blobs")


@case(needs="own", limit_s=300)
def blobs_swapped_renamed_moved_or_cut_are_errors_never_bytes():
    with Running() as server:
        sites = {region: Stored(server, region, client, "swap") for region, client in server.regions().items()}
        tried = 0
        for region, stored in sites.items():
            second_key, second_secret = another_tenant(server, region)
            neighbour = Stored(server, region, as_key(stored.client, second_key, second_secret), "next")
            abroad = next(other for name, other in sites.items() if name != region)
            twins = Stored(server, region, stored.client, "swap")  # same sizes, another bucket, same tenant
            for path in sorted(stored.owner):
                size = path.stat().st_size
                for source, what in ((neighbour, "another tenant's blob"), (abroad, "another region's blob"), (twins, "another object's blob")):
                    nearest = min(source.owner, key=lambda other: abs(other.stat().st_size - size))
                    stored.damaged(path, lambda to, nearest=nearest: shutil.copyfile(nearest, to), what)
                    tried += 1
                stored.damaged(path, lambda to: to.unlink(), "removal")
                stored.damaged(path, lambda to: to.rename(to.with_name("0" * 32)), "renaming")
                path.with_name("0" * 32).unlink()
                cuts = {0, 1, size // 2, size - 1, size - 16, size - SEGMENT, SEGMENT, 2 * SEGMENT, size // SEGMENT * SEGMENT}
                for at in sorted(at for at in cuts if 0 <= at < size):
                    stored.damaged(path, cut(at), f"cutting to {at} of {size}")
                    tried += 1
            mine = [path for path in stored.owner if path.stat().st_size < SEGMENT]
            swap_in_place(stored, mine)
            for each in (stored, neighbour, twins):
                each.all_read()
        note(f"{tried} damages")


def swap_in_place(stored, paths):
    first, second = sorted(paths)[:2]
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    try:
        assert not stored.reads(stored.owner[first]) and not stored.reads(stored.owner[second]), "a swap went unnoticed"
    finally:
        first.write_bytes(a)
        second.write_bytes(b)


def another_tenant(server, region):
    server.verb("tenant", "create", f"neighbour-{region}", region=region)
    return server.new_credential(f"neighbour-{region}", region)


def as_key(client, access_key, secret_key):
    """A client for a key made while the server runs; it is obeyed within 5 s."""
    import time

    from wire import Client

    made = Client(client.endpoint, client.region, access_key, secret_key)
    deadline = time.monotonic() + 5
    while made.send("GET", "/").status != 200:
        assert time.monotonic() < deadline, "a new access key was not known after 5 s"
        time.sleep(0.1)
    return made


@case(needs="own")
def bytes_appended_to_a_blob_never_reach_a_reader():
    with Running() as server:
        for region, client in server.regions().items():
            stored = Stored(server, region, client, "append")
            for path in sorted(stored.owner):
                size = path.stat().st_size
                with open(path, "ab") as file:
                    file.write(b"\0" * 70_000)
                stored.reads(stored.owner[path])  # whole and right, or refused
                path.open("r+b").truncate(size)
            stored.all_read()


@case(needs="own")
def damage_behind_the_first_segment_resets_the_connection():
    with Running() as server:
        for region, client in server.regions().items():
            stored = Stored(server, region, client, "late")
            key = max(stored.objects, key=lambda name: len(stored.objects[name]))
            # The blob of the most bytes holds the start of the object, so its last byte is far behind the first answer.
            path = max((path for path, owner in stored.owner.items() if owner == key), key=lambda path: path.stat().st_size)

            def reset(path=path, key=key):
                flip(path.stat().st_size - 1, 0)(path)
                try:
                    answer = client.get(stored.bucket, key)
                except Broken as error:
                    assert "after 200" in str(error), error
                    return
                raise AssertionError(f"ended cleanly: {answer}")

            keep = path.read_bytes()
            try:
                reset()
            finally:
                path.write_bytes(keep)
            stored.all_read()
