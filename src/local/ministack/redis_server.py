"""The Redis that stands in for ElastiCache. It runs from the first cache that is created to the last that is deleted.

It is a process of the server's group, so it ends with it. Its data is in its own dump, which Redis writes to a temporary
name first. All caches of a stage share it. It asks for the token of the replication group that was created or changed
last, so that other users of the machine cannot read what the functions keep there.
"""
import asyncio, contextlib, hashlib, json, os, shutil, socket, subprocess, threading, time
from urllib.parse import parse_qs

HOST = "127.0.0.1"
CREATE = ("CreateCacheCluster", "CreateReplicationGroup", "CreateServerlessCache")
ENGINES = ("redis", "valkey")
START = 10  # seconds in which it must answer
INSTALL = 300  # seconds in which a program must be found, or installed


def used(elasticache):
    """The names used below, with their parameters in the pinned version."""
    return {elasticache: {
        "handle_request": "method, path, headers, body, query_params", "_error": "code, message, status",
        "_create_replication_group": "p", "_modify_replication_group": "p", "_p": "params, key",
        "_update_auth_token": "rg, token, strategy",
    }}


class Unavailable(Exception):
    """There is no Redis, and why."""


def find_program(finder):
    """The machine's redis-server, or what deployctl installs in its place. `finder` is the command that does so, with
    the environment that it needs; the server's own has none of it."""
    program = shutil.which("redis-server")
    if program:
        return program
    if not finder:
        raise Unavailable("there is no redis-server on PATH")
    try:
        found = subprocess.run(finder["command"], env=finder["env"], stdin=subprocess.DEVNULL, capture_output=True,
                               text=True, timeout=INSTALL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"there is no redis-server on PATH, and {error}") from None
    if found.returncode != 0:
        raise Unavailable(" ".join(found.stderr.split()))
    return found.stdout.strip()


def free_port(wanted):
    """`wanted`, or another port if that is taken."""
    for port in (wanted or 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return probe.getsockname()[1]
    raise Unavailable("there is no free port")


class Redis:
    """The process, its port and its passwords."""

    def __init__(self, folder, finder):
        self.folder, self.finder, self.process, self.program = folder, finder, None, None
        self.port, self.passwords, self.lock = None, [], threading.RLock()

    def start(self, with_data):
        """Starts it with the data of its dump, or empty."""
        with self.lock:
            if self.process:
                return
            self.program = self.program or find_program(self.finder)
            self.port = free_port(self.port)
            dump = os.path.join(self.folder, "redis.rdb")
            if not with_data:
                self.passwords = []
                with contextlib.suppress(FileNotFoundError):
                    os.remove(dump)
            with open(os.path.join(self.folder, os.pardir, "redis.log"), "ab") as log:
                # The settings come over its input: an argument would show in the list of processes.
                self.process = subprocess.Popen([self.program, "-"], cwd=self.folder, stdin=subprocess.PIPE, stdout=log,
                                                stderr=log)
            with self.process.stdin as settings:
                settings.write("\n".join(self.settings()).encode())
            self.wait(self.process)
            self.describe()
            threading.Thread(target=self.watch, args=(self.process,), daemon=True).start()

    def settings(self):
        # Its working folder is its own, so the dump needs no path. `save 1 1`: a second after a change.
        return (f"bind {HOST}", f"port {self.port}", "daemonize no", "databases 16", "appendonly no",
                "dbfilename redis.rdb", "save 1 1", "stop-writes-on-bgsave-error no", self.user(), "")

    def user(self):
        hashes = " ".join(f"#{hashlib.sha256(each.encode()).hexdigest()}" for each in self.passwords)
        return f"user default on {hashes or 'nopass'} ~* &* +@all"

    def wait(self, process):
        """Until it answers; that it wants a password is an answer, too."""
        end = time.monotonic() + START
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(5) in (b"+PONG", b"-NOAU"):
                    return
            time.sleep(0.02)
        process.kill()
        process.wait()
        self.process = None
        raise Unavailable("Redis does not start; its log is .deployctl/local/redis.log")

    def describe(self):
        """Says where it is, for people and tests."""
        path = os.path.join(self.folder, "redis.json")
        with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"pid": self.process.pid, "port": self.port}, file)
        os.replace(path + ".new", path)

    def watch(self, process):
        """Starts it again when it has ended by itself."""
        process.wait()
        time.sleep(0.5)  # a program that cannot run must not be started all the time
        with self.lock:
            if self.process is process:
                print("Redis has ended, and is started again", flush=True)
                self.process = None
                with contextlib.suppress(Unavailable):
                    self.start(with_data=True)

    def stop(self, with_data):
        """Ends it. Redis stores its data at its end."""
        with self.lock:
            process, self.process = self.process, None
        if not process:
            return
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for name in ("redis.json",) if with_data else ("redis.json", "redis.rdb"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(self.folder, name))

    def protect(self, passwords, login):
        """Asks for one of `passwords` from now on; `login` is what it has asked for so far."""
        with socket.create_connection((HOST, self.port), timeout=5) as connection, connection.makefile("rb") as answers:
            for command in ([["AUTH", login]] if login else []) + [
                    ["ACL", "SETUSER", "default", "resetpass", *(f">{each}" for each in passwords or [])]
                    + ([] if passwords else ["nopass"])]:
                parts = [part.encode() for part in command]
                connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
                answer = answers.readline()
                if not answer.startswith(b"+"):
                    raise RuntimeError(f"Redis refuses {command[0]}: {answer[:40]!r}")
        self.passwords = passwords


def moved(value, before, after):
    """Changes the port of all endpoints in a record."""
    if isinstance(value, dict):
        if value.get("Address") == HOST and value.get("Port") == before:
            value["Port"] = after
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            moved(each, before, after)


def install(elasticache, folder, finder):
    """Puts it behind MiniStack's ElastiCache. Returns it, and what of it belongs into a snapshot."""
    redis, turn = Redis(folder, finder), asyncio.Lock()
    elasticache.REDIS_DEFAULT_HOST = HOST
    records = (elasticache._replication_groups, elasticache._clusters, elasticache._serverless_caches)

    def is_needed():
        """Whether a cache is there that is a Redis. A memcached is not emulated."""
        return any(record.get("Engine", "redis") in ENGINES for store in records
                   for record in list(store._data.values()))

    def started(with_data):
        before = redis.port
        redis.start(with_data)
        elasticache.REDIS_DEFAULT_PORT = redis.port
        if before not in (None, redis.port):
            for store in records:
                moved(list(store._data.values()), before, redis.port)

    handle = elasticache.handle_request

    async def handle_request(method, path, headers, body, query_params):
        asked = {**query_params, **parse_qs(body.decode("utf-8", "replace"))} if body else query_params
        action, engine = elasticache._p(asked, "Action"), elasticache._p(asked, "Engine") or "redis"
        async with turn if action.startswith(("Create", "Delete")) else contextlib.AsyncExitStack():
            if action in CREATE and engine in ENGINES and not redis.process:
                try:
                    await asyncio.to_thread(started, is_needed())
                except Unavailable as error:
                    return elasticache._error("InsufficientCacheClusterCapacity", (
                        f"The local stage cannot start Redis: {error}"), 400)
            response = await handle(method, path, headers, body, query_params)
            if redis.process and action.startswith(("Create", "Delete")) and not is_needed():
                await asyncio.to_thread(redis.stop, False)
        return response

    create, modify = elasticache._create_replication_group, elasticache._modify_replication_group

    def protect(p, response):
        group = elasticache._replication_groups.get(elasticache._p(p, "ReplicationGroupId"))
        asked = elasticache._p(p, "AuthToken") or elasticache._p(p, "AuthTokenUpdateStrategy") == "DELETE"
        if response[0] == 200 and group and asked:
            tokens = [] if group.get("_auth_optional") else list(group.get("_auth_tokens") or [])
            redis.protect(tokens, redis.passwords[-1] if redis.passwords else None)
        return response

    elasticache.handle_request = handle_request
    elasticache._create_replication_group = lambda p: protect(p, create(p))
    elasticache._modify_replication_group = lambda p: protect(p, modify(p))

    def read():
        return {"port": redis.port, "passwords": redis.passwords}

    def write(saved):
        """Starts it again with its data, if the snapshot has a cache."""
        if not saved or not is_needed():
            return
        redis.port, redis.passwords = saved["port"], saved["passwords"]
        try:
            started(True)
        except Unavailable as error:
            print(f"Redis cannot be started: {error}", flush=True)

    return redis, (read, write)
