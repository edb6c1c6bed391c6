# SPDX-License-Identifier: MIT
"""Servers that are no S3 servers: whatever asks them gets the same bytes, or none.

    fake = Raw(b"HTTP/1.1 200 OK\\r\\n\\r\\n")    # these, then it keeps still; b"": the end of the connection
    fake = Raw(None)                           # it never says anything
    fake.url; fake.stop()
"""
import socket
import threading


class Raw:
    def __init__(self, says):
        self.says, self.socks = says, []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.socks.append(sock)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            while sock.recv(1 << 16):
                if self.says == b"":
                    break
                sock.sendall(self.says or b"")
        except OSError:
            pass
        finally:
            sock.close()

    def stop(self):
        self.listener.close()
        for sock in self.socks:
            sock.close()
