"""Keeps what the stage holds over its end, in one file that is always whole.

MiniStack can store its state, too, but only at its end, in a file for each service, with the objects of S3 apart from
it. After a kill, such files would describe different moments. Here all stores of all services are written at once: in
memory first, while no request runs, then to a temporary name, which replaces the last snapshot. Terraform's states are
objects in the emulated S3, so they always belong to the resources beside them.
"""
import asyncio, hmac, io, json, os, pickle, sys, time

MAGIC = b"deployctl local stage 1\n"
QUIET = 1.0  # seconds without a request, after which a change is stored
LOCK = ".tflock"  # Terraform's lock on a state: until it is gone, the state does not name all resources
STALE = 600  # seconds after which a lock is one that was left behind
PLAIN = {"ec2": ("_default_initialized_scopes",), "sts": ("_sessions",)}  # what MiniStack keeps outside of its stores
PREFIX = "ministack.services."


def used(app):
    """The names used below, with their parameters in the pinned version."""
    return {app: {"_get_module": "name: str"}}


class Unreadable(Exception):
    """A snapshot that cannot be used, and why."""


class Stores:
    """The stores of all services that were used."""

    def __init__(self, kinds):
        self.kinds = kinds

    def read(self):
        """The content of all stores, by service and name. Nothing is copied."""
        found = {}
        for name, module in sorted(sys.modules.items()):
            service = name.removeprefix(PREFIX)
            if not name.startswith(PREFIX) or "." in service:
                continue
            found[service] = {key: value._data for key, value in vars(module).items() if isinstance(value, self.kinds)}
            found[service].update({key: getattr(module, key) for key in PLAIN.get(service, ())})
        return {service: stores for service, stores in found.items() if any(stores.values())}

    def write(self, content, load):
        """Fills the stores. They stay the same objects, to which MiniStack has other references."""
        for service, stores in content.items():
            module = load(service)
            for key, saved in stores.items():
                there = getattr(module, key, None)
                if there is None:
                    continue
                target = there._data if isinstance(there, self.kinds) else there
                target.clear()
                target.update(saved)


def packed(content):
    """The content as bytes. What cannot be stored, such as an open connection, is left out, store by store."""
    try:
        return pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # whichever error an object raises that cannot be stored
        for stores in content["stores"].values():
            for key in list(stores):
                try:
                    pickle.dump(stores[key], io.BytesIO(), protocol=pickle.HIGHEST_PROTOCOL)
                except Exception as error:
                    print(f"snapshot: {key} is left out: {error}", flush=True)
                    del stores[key]
        return pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)


class Snapshot:
    """The file, and what it is made of. `parts` are other things to store: name to a pair of `read` and `write`.

    To read a pickle is to run it, so the file is signed with a key that is this user's, and not in the project.
    """

    def __init__(self, path, key, release, stores, parts):
        self.path, self.key, self.release, self.stores, self.parts = path, key.encode(), release, stores, parts
        self.written = None  # the signature of what the file holds

    def content(self):
        return {"stores": self.stores.read(), "parts": {name: part[0]() for name, part in self.parts.items()}}

    def signature(self, payload):
        return hmac.new(self.key, payload, "sha256").hexdigest()

    def store(self, payload):
        """Replaces the file, unless it holds the same."""
        signature = self.signature(payload)
        if signature == self.written:
            return
        head = {"ministack": self.release, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "hmac": signature}
        temporary = self.path + ".new"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(MAGIC + json.dumps(head).encode() + b"\n")
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
        self.written = signature

    def store_now(self):
        self.store(packed(self.content()))

    def read(self):
        """The time and the content of the file, or None. Raises `Unreadable` if it is not whole, or of another version
        of MiniStack, whose stores may differ."""
        try:
            with open(self.path, "rb") as file:
                magic, head, payload = file.readline(), file.readline(), file.read()
        except FileNotFoundError:
            return None
        try:
            head = json.loads(head) if magic == MAGIC else {}
        except ValueError:
            head = {}
        if not hmac.compare_digest(self.signature(payload), str(head.get("hmac"))):
            raise Unreadable("it is damaged, or another user or machine has written it")
        if head["ministack"] != self.release:
            raise Unreadable(f"MiniStack {head['ministack']} has written it, and this is {self.release}")
        self.written = head["hmac"]
        return head["at"], pickle.loads(payload)

    def restore(self, load):
        """Fills the stage from the file. Returns the time of the snapshot, or None, and why there is none."""
        try:
            found = self.read()
            if found is None:
                return None, None
            at, content = found
            self.stores.write(content["stores"], load)
        except Unreadable as error:
            problem = str(error)
        except Exception as error:  # whatever an object raises that cannot be read
            problem = f"it cannot be read: {error}"
        else:
            for name, part in self.parts.items():
                part[1](content["parts"].get(name))
            return at, None
        os.replace(self.path, self.path + ".unreadable")
        return None, problem


def is_locked(buckets):
    """Whether Terraform is changing something. A lock that is old was left by a Terraform that was killed."""
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - STALE))  # as S3's times are, for comparison
    return any(key.endswith(LOCK) and record.get("last_modified", "") > since
               for bucket in list(buckets.values()) for key, record in list((bucket.get("objects") or {}).items()))


def install(app, snapshot, is_locked_now, is_to_an_api):
    """Stores the stage after each change, as soon as no request has come for a moment and Terraform is not at work."""
    inner, tasks = app.app, []
    state = {"changed": False, "running": 0, "last": time.monotonic()}

    async def keep():
        while True:
            await asyncio.sleep(QUIET / 2)
            quiet = not state["running"] and time.monotonic() - state["last"] >= QUIET
            if not (state["changed"] and quiet) or is_locked_now():
                continue
            state["changed"] = False
            try:
                payload = packed(snapshot.content())
                await asyncio.get_running_loop().run_in_executor(None, snapshot.store, payload)
            except Exception as error:  # a full disk must not end the stage
                state["changed"] = True
                print(f"snapshot: failed: {error}", flush=True)
                await asyncio.sleep(10)

    async def watched(scope, receive, send):
        if scope["type"] == "http" and not is_to_an_api():
            if not tasks:
                tasks.append(asyncio.get_running_loop().create_task(keep()))
            state["running"] += 1
            try:
                await inner(scope, receive, send)
            finally:
                state["running"] -= 1
                state["last"] = time.monotonic()
                state["changed"] = state["changed"] or scope["method"] not in ("GET", "HEAD", "OPTIONS")
        else:
            await inner(scope, receive, send)

    app.app = watched
