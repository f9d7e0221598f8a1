#!/usr/bin/env python3
"""A proxy that intercepts TLS, as those of companies do, and answers in the place of AWS.

Arguments: a folder. It writes its certificate to ca.pem, its port to port, and each host to hosts."""

import pathlib
import socketserver
import ssl
import subprocess
import sys

folder = pathlib.Path(sys.argv[1])
NAMES = ["*.us-east-1.amazonaws.com", "*.s3.us-east-1.amazonaws.com", "s3.us-east-1.amazonaws.com"]
alternatives = "subjectAltName=" + ",".join(f"DNS:{name}" for name in NAMES)
# A certificate of its own, which also signs itself, is not accepted by every client: an authority signs it.
run = lambda *args: subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=folder)
key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=a company")
run("req", *key[:-2], "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=proxy")
(folder / "extensions").write_text(alternatives + "\n")
run("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
    "-days", "2", "-extfile", "extensions", "-out", "certificate.pem")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")

IDENTITY = b"""<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::111111111111:user/x</Arn>
<UserId>x</UserId><Account>111111111111</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"""
MISSING = b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        request = self.read(self.request)
        host = request.split(b" ")[1].decode()
        with open(folder / "hosts", "a") as hosts:
            hosts.write(host + "\n")
        self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            with context.wrap_socket(self.request, server_side=True) as tls:
                while request := self.read(tls):
                    status, body = (b"200 OK", IDENTITY) if request.startswith(b"POST") else (b"404 Not Found", MISSING)
                    head = b"HTTP/1.1 %s\r\ncontent-type: text/xml\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
                    tls.sendall(head + body)
        except (ssl.SSLError, ConnectionError):
            pass

    @staticmethod
    def read(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return b""
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
        while length and len(body) < length[0]:
            body += connection.recv(65536)
        return data


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


with Server(("127.0.0.1", 0), Connection) as server:
    (folder / "port.new").write_text(str(server.server_address[1]))
    (folder / "port.new").rename(folder / "port")
    server.serve_forever()
