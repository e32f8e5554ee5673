"""Requests of which one thing is wrong, by the hundred: none is accepted, none is a defect of ours, and nothing of them stays."""

import http.client
import random
import socket

import evidence
import mutations_body
import mutations_head
import mutations_name
import mutations_proof
import mutations_xml
from cases import bucket_of, case, fresh, note, seed_of
from ledger import MIB, Ledger, text_of
from servers import Scratch, Served
from wire import Answer, noise

ANSWER_S = 40  # more than a body may stand still
CONTROL_EVERY = 8
EACH = 100  # of a family, on ordinary runs
RANGED = 5_000


def asked(client, request):
    """The answer, or None if the connection ended without one."""
    with socket.create_connection((client.host, client.port), timeout=ANSWER_S) as raw:
        try:
            raw.sendall(request.bytes())
            if request.cut:
                raw.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # an early answer: read it
        reply = http.client.HTTPResponse(raw, method=request.method)
        try:
            reply.begin()
            return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        except (http.client.HTTPException, ConnectionError):
            return None
        except TimeoutError:
            raise AssertionError(f"no answer in {ANSWER_S} s: {request.method} {request.where}") from None
        finally:
            reply.close()


class Trial:
    """Sends mutations of one family, and right requests among them."""

    def __init__(self, client, ledger):
        self.client, self.ledger = client, ledger
        self.told, self.closed, self.controls = {}, 0, 0

    def family(self, name, family, count, accepted=lambda answer: answer.status < 400):
        """`accepted`: whether an answer gives what a right request would get."""
        for number in range(count):
            if number % CONTROL_EVERY == 0:
                self.control(name, family)
            what, request = family.mutated()
            self.ledger.add("operations")
            answer = asked(self.client, request)
            if answer is None:
                self.closed += 1
                self.ledger.add("broken")
            elif answer.status >= 500 and answer.code != "NotImplemented":
                self.ledger.add("refused")
                raise AssertionError(f"{name}, {what}: {request.method} {request.where[:200]}: {answer} {answer.body[:300]}: not the client's fault?")
            elif accepted(answer):
                self.ledger.add("wrong", f"{name}: accepted: {what}: {request.method} {request.where[:200]} {request.headers}: {answer} {answer.body[:200]}")
            self.told[name] = self.told.get(name, 0) + 1

    def control(self, name, family):
        request = family.control()
        self.ledger.add("operations")
        answer = asked(self.client, request)
        assert answer is not None and 200 <= answer.status < 300 and b"<Error>" not in answer.body, (
            f"{name}: a request with nothing wrong is refused, so refusals prove nothing: {answer} {answer and answer.body[:300]}")
        self.ledger.add("acknowledged")
        self.controls += 1


@case(needs="own", limit_s=900, evidence=True)
def of_requests_with_one_thing_wrong_none_is_accepted():
    seed, each = seed_of("mutations"), evidence.length("TERROIR_MUTATIONS", EACH, 2_000)
    ledger = Ledger()
    with Scratch() as folder:
        served = Served(folder / "proxy")
        try:
            client = served.start().client()
            bucket, absent, made_by_mutants = bucket_of(client, "mutations"), fresh("absent"), fresh("mutant")

            def known(key, size):
                """Puts it; it must be there unchanged in the end."""
                state = ledger.key(bucket, key)
                state.possible = {state.trying(key, size)}
                assert client.put(bucket, key, noise(key, size)).status == 200

            deleted = [f"deleted-{number}" for number in range(4)]
            for key in ("kept", "control", mutations_name.Keys.KEY, *deleted):
                known(key, 3_000)
            known("ranged", RANGED)
            whole, tags = noise("whole", 5 * MIB + 70_000), []
            path = client.path(bucket, "whole")
            upload = text_of(client.send("POST", path, query={"uploads": ""}).body, "UploadId")
            for number, part in enumerate((whole[:5 * MIB], whole[5 * MIB:]), 1):
                sent = client.send("PUT", path, query={"partNumber": str(number), "uploadId": upload}, body=part)
                assert sent.status == 200, sent
                tags.append(sent.headers["etag"])

            trial, chance = Trial(client, ledger), random.Random(seed)
            trial.family("SigV4", mutations_proof.Signatures(client, bucket, chance), each)
            trial.family("aws-chunked", mutations_body.Chunked(client, bucket, chance), each)
            trial.family("header", mutations_head.Headers(client, bucket, chance), each)
            documents = mutations_xml.Documents(client, bucket, chance, upload, tags, deleted, made_by_mutants)
            # The answer to a completion may begin before it knows.
            trial.family("XML", documents, each, accepted=lambda answer: answer.status < 400 and b"<Error>" not in answer.body)
            trial.family("range", mutations_name.Ranges(client, bucket, chance, "ranged", RANGED), each, accepted=lambda answer: not (
                answer.status == 416 or (answer.status == 200 and answer.body == noise("ranged", RANGED))))
            trial.family("key", mutations_name.Keys(client, bucket, chance, absent), each)

            # What the mutants' own right forms do: the upload was neither completed nor lost, the bucket not made, the keys not deleted.
            assert client.get(bucket, "whole").code == "NoSuchKey", "an upload was completed by a mutant"
            assert made_by_mutants not in client.send("GET", "/").body.decode(), "a bucket was made by a mutant"
            known("control", 3_000)  # which right ones replaced
            checked = ledger.verify(client, bucket)
            ledger.clean()
            for root, text in (("complete", documents.complete()), ("create", documents.create()), ("delete", documents.delete())):
                answer = asked(client, documents.sent(root, text))
                assert answer.status == 200 and b"<Error>" not in answer.body, (root, answer, answer.body[:300])
            assert client.get(bucket, "whole").body == whole and client.get(bucket, deleted[0]).code == "NoSuchKey"
            assert served.stop() == 0, served.tail()
            served.verb("audit", "verify")
            told = ", ".join(f"{name} {count:,}" for name, count in trial.told.items())
            evidence.row("of_requests_with_one_thing_wrong_none_is_accepted", "requests with one thing wrong", ledger, seed, unasked=("abroad",),
                         mutated=told, accepted=0, right_ones_between_them_accepted=f"{trial.controls} of {trial.controls}",
                         closed_without_an_answer=trial.closed, keys_checked=checked)
            note(f"{told}; 0 accepted, {trial.closed} closed without an answer, {trial.controls} right ones accepted")
        finally:
            if served.child and served.child.poll() is None:
                served.kill()
