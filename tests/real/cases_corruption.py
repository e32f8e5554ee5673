"""A store that lies: bytes flipped, blobs swapped, renamed, moved, cut. The answer is an error, never wrong bytes."""

import random
import shutil

from cases import bucket_of, case, note, seed_of
from servers import Running
from wire import Broken, noise

SEGMENT = 65_568  # a sealed segment as it lies in a blob, of SEGMENT - 32 plain bytes (docs/format.md)
FLOE_HEADER = 74
BLOB_CLEAR_MAX = 8 << 20
PREFIX_MAX = 8_192  # the version record and the FLOE header, generously
SIZES = (0, 40, 5_000, 65_536, 200_000, (8 << 20) + 100_000)
FLIPS_PER_FILE = 60


class Stored:
    """Objects, the store's files, and which object each file belongs to (found by taking the file away)."""

    def __init__(self, server, region, client, word, sizes=SIZES):
        self.client, self.store = client, server.folder(region, "store")
        before = self.files()
        self.bucket = bucket_of(client, word)
        self.objects = {f"{word}-{size}": noise(f"{word}-{region}-{size}", size) for size in sizes}
        for key, body in self.objects.items():
            assert client.put(self.bucket, key, body).status == 200, key
        self.owner = {}
        for path in sorted(self.files() - before):
            away = path.with_name(path.name + ".away")
            path.rename(away)
            owners = [key for key in self.objects if not self.reads(key)]
            away.rename(path)
            assert len(owners) <= 1, f"{path.name} belongs to {owners}: a blob belongs to one version"
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

    def is_record(self, path):
        """True for the blob that holds nothing but the version record: a version of several blobs has one."""
        return len(self.objects[self.owner[path]]) > BLOB_CLEAR_MAX and path.stat().st_size < PREFIX_MAX

    def first_segment(self, path):
        """Where the bytes begin of which a whole read must notice every flip: the sealed segments, or all of a record's own blob. What
        stands before the segments (version record, FLOE header) also stands in the index, and reads take it from there; the copy in
        the store is for a lost index."""
        if self.is_record(path):
            return 0
        clear, size = len(self.objects[self.owner[path]]), path.stat().st_size
        # A version is cut into full blobs and a rest.
        for part in (min(clear, BLOB_CLEAR_MAX), clear % BLOB_CLEAR_MAX):
            begin = size - part - 32 * max(1, -(-part // (SEGMENT - 32)))
            if FLOE_HEADER <= begin < PREFIX_MAX:
                return begin
        raise AssertionError(f"{path.name}: {size} bytes do not hold a part of {clear}")

    def damaged_copy(self, path, damage):
        """Applies `damage` where reads do not look, expects right bytes or an error, and undoes it. True if it was noticed."""
        whole = path.read_bytes()
        try:
            damage(path)
            return not self.reads(self.owner[path])
        finally:
            path.write_bytes(whole)

    def damaged(self, path, damage, what):
        """Applies `damage` to a file, expects its object to fail, and undoes it."""
        keep = path.with_name(path.name + ".keep")
        shutil.copy2(path, keep)
        try:
            damage(path)
            assert not self.reads(self.owner[path]), f"{what} of {path.name} ({self.owner[path]}) went unnoticed"
        finally:
            keep.replace(path)


def positions(chance, size, begin):
    """Every region of a file: both ends, each side of every segment border, and random places."""
    borders = [edge + offset for edge in range(begin, size + SEGMENT, SEGMENT) for offset in (-17, -16, -1, 0, 1, 3, 4, 15, 16)]
    fixed = [at for at in [*range(0, begin, 53), *borders, size - 1, size - 2, size // 2] if 0 <= at < size]
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
            flips = copies = noticed = 0
            for path in sorted(stored.owner):
                begin = stored.first_segment(path)
                for at in positions(chance, path.stat().st_size, begin):
                    damage = flip(at, chance.randrange(8))
                    if at >= begin:
                        stored.damaged(path, damage, f"byte {at}")
                        flips += 1
                    else:
                        noticed += stored.damaged_copy(path, damage)
                        copies += 1
            stored.all_read()
            note(f"{region}: {flips} flips in segments of {len(stored.owner)} blobs, all refused; {copies} in copies of records, {noticed} noticed")


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
def damage_behind_the_first_blob_resets_the_connection():
    """Nothing is known to be wrong when the answer begins; a body that would be wrong later must not end as a whole one."""
    with Running() as server:
        for region, client in server.regions().items():
            stored = Stored(server, region, client, "late", sizes=[26 << 20])
            bodies = [path for path in stored.owner if not stored.is_record(path)]
            assert len(bodies) == 4, stored.owner
            last = min(bodies, key=lambda path: path.stat().st_size)  # 2 MiB; the others are full
            whole = last.read_bytes()
            try:
                flip(len(whole) - 1, 0)(last)
                answer = client.get(stored.bucket, stored.owner[last])
                raise AssertionError(f"ended cleanly: {answer}")
            except Broken as error:
                assert "after 200" in str(error), error
            finally:
                last.write_bytes(whole)
            stored.all_read()
