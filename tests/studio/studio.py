"""A studio to test: started with a library of its own on a free port, talked to, killed, started again."""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

BUILD = os.environ.get('BUILD', 'build')
PROGRAM, STUDIO = os.path.abspath(BUILD + '/storydiff'), os.path.abspath(BUILD + '/storydiff-studio')

# Quick to draw: few steps, and consistency from the first one on.
QUICK = '''title: %s
style_name: Comic book
seed: 4
sampling_steps: %d
csa_start: 1
[Rosa] a girl wearing a yellow top and a blue skirt
---
[Rosa] standing in the bedroom #No alarm today.
[Rosa] reading in the kitchen #Two pancakes, one plan.
[NC] the beach #The waves.
[Rosa] waving on the street #"Morning!"
'''


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Studio:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='storydiff-studio-')
        self.library = self.folder + '/comics'
        self.port = free_port()
        self.process = None
        self.start()

    def start(self):
        environment = {**os.environ, 'HF_HUB_CACHE': self.folder + '/no-hub'}
        environment.pop('STORYDIFF_MODEL', None)
        self.process = subprocess.Popen([STUDIO, '--port', str(self.port), '--library', self.library],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        line = self.process.stdout.readline().decode()
        assert 'http://127.0.0.1:%d/' % self.port in line, line

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.stdout.close()
        return self.process.wait(timeout=60)

    def close(self):
        if self.process.poll() is None:
            self.kill(signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)

    def request(self, method, path, body=None, headers=None):
        """Status, headers, bytes."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        answer = response.status, response.headers, response.read()
        connection.close()
        return answer

    def json(self, method, path, body=None, status=200):
        got, _, content = self.request(method, path, body)
        assert got == status, (got, content[:500])
        return json.loads(content)

    def comic(self, id):
        return self.json('GET', '/api/comics/' + id)

    def draw(self, title='Test', steps=4):
        return self.json('POST', '/api/comics', {'story': QUICK % (title, steps)})['id']

    def wait(self, id, states=('finished',), seconds=240):
        end = time.time() + seconds
        while time.time() < end:
            c = self.comic(id)
            if c['state'] in states:
                return c
            assert c['state'] != 'failed', c['message']
            time.sleep(0.1)
        raise AssertionError('it is still %s, not %s' % (c['state'], states))

    def raw(self, data, seconds=5):
        """What comes back for these bytes, until the studio closes or says nothing more."""
        with socket.create_connection(('127.0.0.1', self.port)) as s:
            s.settimeout(seconds)
            answer = b''
            try:
                s.sendall(data)
                while len(answer) < 1 << 20:
                    more = s.recv(65536)
                    if not more:
                        break
                    answer += more
            except (TimeoutError, socket.timeout, ConnectionError):
                pass
            return answer
