"""The studio's HTTP surface, attacked; and the interface for programs, used."""
import base64
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import unittest

from studio import BUILD, PROGRAM, QUICK, STUDIO, Studio

SANITIZED = 'sanitize' in BUILD


class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = Studio()

    @classmethod
    def tearDownClass(cls):
        cls.s.close()

    def tearDown(self):
        self.assertIsNone(self.s.process.poll(), 'the studio has died')

    # ------------------------------------------------------------------------------------------------------ the page

    def test_page_is_small_and_loads_nothing_from_elsewhere(self):
        total = 0
        for path in '/', '/studio.css', '/studio.js', '/icon.svg', '/styles.png':
            status, headers, content = self.s.request('GET', path)
            self.assertEqual(status, 200)
            total += len(content)
            policy = headers['Content-Security-Policy']
            self.assertIn("default-src 'none'", policy)
            for word in 'unsafe', '*', 'data:', 'blob:', 'http':
                self.assertNotIn(word, policy)
            self.assertEqual(headers['X-Content-Type-Options'], 'nosniff')
            if not path.endswith('.png') and not path.endswith('.svg'):
                for word in b'https://', b'http://', b'innerHTML', b' style="':
                    self.assertNotIn(word, content, path)
        self.assertLess(total, 120 * 1000)

    @unittest.skipIf(SANITIZED, 'the sanitizer has memory of its own')
    def test_idle_costs_nothing(self):
        pid = self.s.process.pid

        def ticks():
            with open('/proc/%d/stat' % pid) as f:
                return sum(map(int, f.read().rsplit(')', 1)[1].split()[11:13]))

        with open('/proc/%d/status' % pid) as f:
            rss = int([line for line in f if line.startswith('VmRSS')][0].split()[1])
        self.assertLess(rss, 15 * 1024)
        before = ticks()
        time.sleep(2)
        self.assertLessEqual(ticks() - before, 1)

    # -------------------------------------------------------------------------------------------------- who may talk

    def test_only_its_own_host(self):
        port = self.s.port
        get = lambda host: self.s.raw(b'GET /api/comics HTTP/1.1\r\n' + host + b'Connection: close\r\n\r\n')[:15]
        for good in b'127.0.0.1:%d', b'localhost:%d', b'[::1]:%d':
            self.assertIn(b' 200', get(b'Host: ' + good % port + b'\r\n'))
        for bad in (b'Host: evil.example\r\n', b'Host: evil.example:%d\r\n' % port, b'Host: 127.0.0.1\r\n', b'Host:\r\n',
                    b'Host: 127.0.0.1:%d\r\n' % (port + 1), b'Host: 127.0.0.1.evil.example:%d\r\n' % port, b'',
                    b'Host: 192.168.1.5:%d\r\n' % port, b'Host: localhost:%dx\r\n' % port, b'Host: ' + b'a' * 3000 + b'\r\n',
                    b'Host: localhost.:%d\r\n' % port, b'Host: 127.0.0.1:-%d\r\n' % port, b'Host: 127.1:%d\r\n' % port):
            answer = get(bad)
            self.assertNotIn(b' 200', answer, bad)
            self.assertTrue(answer.startswith(b'HTTP/1.'), bad)

    def test_no_other_site(self):
        own = 'http://127.0.0.1:%d' % self.s.port
        for method, path, body in ('GET', '/api/comics', None), ('POST', '/api/check', {'story': 'x'}), ('GET', '/', None):
            for origin in 'http://evil.example', 'null', 'https://127.0.0.1:%d' % self.s.port, own + '0', own + '@evil', '':
                self.assertEqual(self.s.request(method, path, body, {'Origin': origin})[0], 403, (method, origin))
            for site in 'cross-site', 'same-site', 'x':
                self.assertEqual(self.s.request(method, path, body, {'Sec-Fetch-Site': site})[0], 403)
            self.assertEqual(self.s.request(method, path, body, {'Origin': own, 'Sec-Fetch-Site': 'same-origin'})[0], 200)

    # --------------------------------------------------------------------------------------------------------- paths

    def test_no_path_leads_out(self):
        id = self.s.json('POST', '/api/comics', {'story': QUICK % ('Paths', 4), 'start': False})['id']
        with open(self.s.library + '/secret.story', 'w') as f:
            f.write('secret')
        ups = ['..', '%2e%2e', '..%2f..', '%2e%2e%2f', '.%00', '....//', '..\\', '%c0%ae%c0%ae', '-x', 'A', '']
        tails = ['', '/etc/passwd', '/story', '/panel/1', '/log', '/secret.story', '/../secret.story']
        for head in '/', '/api/', '/api/comics/', '/api/comics/%s/' % id, '/api/comics/%s/panel/' % id, '/styles.png/':
            for up in ups:
                for tail in tails:
                    for method in 'GET', 'POST', 'PUT', 'DELETE':
                        request = '%s %s%s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
                        answer = self.s.raw((request % (method, head, up, tail, self.s.port)).encode())
                        self.assertNotIn(b'root:', answer)
                        self.assertNotIn(b'secret', answer.split(b'\r\n\r\n', 1)[-1])
                        if b' 200' in answer[:15]: # nothing but what is there by this very name
                            self.assertIn((method, head + up + tail), [('GET', '/'), ('GET', '/api/comics/%s//story' % id)])
        self.assertEqual(self.s.comic(id)['state'], 'draft')

    def test_scripts_name_no_files(self):
        for line in ('model: /etc', 'styles: /etc/passwd', 'font: /etc/passwd', 'font: ../x.ttf', 'cache_dir: /tmp',
                     'sd_model_name: ../../etc', 'sd_model_name: /tmp/x', 'sd_model_name: a/../../b', 'output_dir: /tmp/x',
                     'story: /etc/passwd', 'from: /etc/passwd', 'threads: 99', 'progress_fd: 5', 'resume: true'):
            story = line + '\n' + QUICK % ('Files', 4)
            answer = self.s.json('POST', '/api/check', {'story': story})
            self.assertFalse(answer['ok'], line)
            self.assertEqual(answer['line'], 1, answer)
            for path in '/api/plan', '/api/comics':
                self.assertEqual(self.s.request('POST', path, {'story': story})[0], 400, (path, line))

    def test_numbers_become_no_options(self):
        id = self.s.json('POST', '/api/comics', {'story': QUICK % ('Options', 4), 'start': False})['id']
        for body in ({}, {'panel': '--overwrite'}, {'panel': '1 2'}, {'panel': '-1'}, {'panel': ['1']}, {'panel': 1, 'seed': 'x'},
                     {'panel': 1, 'seed': '--no_save'}, {'panel': 1, 'seed': ''}, {'panel': 1, 'seed': '9' * 40},
                     {'panel': 1, 'sed': 5}, [], 'x', None):
            self.assertEqual(self.s.request('POST', '/api/comics/%s/redraw' % id, body)[0], 400, body)

    def test_a_cast_is_names_and_descriptions(self):
        s, kept = self.s, {'characters': [{'name': 'Rosa', 'description': 'a girl'}, {'name': 'Tom', 'description': ''}]}
        self.assertEqual(s.request('PUT', '/api/cast', kept)[0], 200)
        one = kept['characters'][0]
        for wrong in ({}, {'characters': 3}, {'characters': {}}, {'characters': [3]}, {'characters': [{'nme': 'Rosa'}]},
                      {'characters': [{'name': 'Rosa'}]}, {'characters': [dict(one, name='')]},
                      {'characters': [dict(one, description=1)]}, {'characters': [dict(one, age=7)]},
                      {'characters': [one], 'more': 1}):
            self.assertEqual(s.request('PUT', '/api/cast', wrong)[0], 400, wrong)
        self.assertEqual(s.json('GET', '/api/cast'), kept)
        self.assertEqual(s.request('PUT', '/api/cast', {'characters': []})[0], 200)

    # --------------------------------------------------------------------------------------------------------- sizes

    def test_bodies_are_limited(self):
        s = self.s
        head = b'POST /api/check HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n' % s.port
        self.assertIn(b' 413', s.raw(head + b'Content-Length: 9000000000\r\n\r\n{')[:15])
        chunk = b'10000\r\n' + b'a' * 65536 + b'\r\n'
        self.assertNotIn(b' 200', s.raw(head + b'Transfer-Encoding: chunked\r\n\r\n' + chunk * 200 + b'0\r\n\r\n')[:15])
        self.assertEqual(s.request('POST', '/api/check', {'story': 'a' * (1 << 21)})[0], 413)
        self.assertEqual(s.request('PUT', '/api/cast', {'characters': 'a' * 400000})[0], 413)
        self.assertNotIn(b' 200', s.raw(b'GET /' + b'a' * 200000 + b' HTTP/1.1\r\n\r\n')[:15])
        self.assertNotIn(b' 200', s.raw(head + b'X: ' + b'a' * 200000 + b'\r\n\r\n')[:15])

    def test_stories_without_end_are_errors(self):
        lines = '[A] a man\n---\n' + '[A] walks on\n' * 70000
        for story in lines, '[A] a\n' * 100000, '\n' * 1000000, 'k: v\n' * 100000, '[' * 500000, '#' * 1000000:
            answer = self.s.json('POST', '/api/check', {'story': story})
            self.assertFalse(answer['ok'])
            self.assertTrue(answer['message'])
            self.assertEqual(self.s.request('POST', '/api/comics', {'story': story})[0], 400)

    def test_garbage_is_an_error(self):
        garbage = [b'', b'\0', b'{', b'[' * 100000, b'{"story": 5}', b'{"story": "\\ud800"}', b'\xff\xfe', b'null',
                   b'{"story": "x", "story": "y"}', os.urandom(5000), b'{"story": "a\\u0000b"}']
        for path in '/api/check', '/api/plan', '/api/comics', '/sdapi/v1/txt2img', '/sdapi/v1/png-info':
            for body in garbage:
                status, _, content = self.s.request('POST', path, body)
                if path == '/api/check' and status == 200:
                    self.assertFalse(json.loads(content)['ok'])
                else:
                    self.assertGreaterEqual(status, 400, (path, body[:20], content[:200]))
                    self.assertLess(status, 500, (path, body[:20], content[:200]))
        for body in b'\x89PNG\r\n\x1a\n', b'\x89PNG\r\n\x1a\n' + os.urandom(500), b'a\0b', os.urandom(100000):
            self.assertEqual(self.s.request('POST', '/api/read', body)[0], 400)
        for request in b'\0' * 100, b'GET\r\n\r\n', b'GET / HTTP/9.9\r\n\r\n', os.urandom(2000), b'BREW / HTTP/1.1\r\n\r\n':
            self.assertNotIn(b' 200', self.s.raw(request, 2)[:15])

    # ---------------------------------------------------------------------------------------------------- half-open

    def test_half_open_connections_end(self):
        half = []
        for i in range(70):
            s = socket.create_connection(('127.0.0.1', self.s.port))
            s.sendall(b'POST /api/check HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 100\r\n' % self.s.port + b'\r\n{' * (i % 2))
            half.append(s)
        begin = time.time()
        self.s.json('GET', '/api/comics')
        self.assertLess(time.time() - begin, 2)
        for s in half: # the studio closes them, or says that it has waited long enough
            s.settimeout(40)
            try:
                while s.recv(4096):
                    pass
            except ConnectionError:
                pass
            s.close()
        self.assertLess(time.time() - begin, 38)

    def test_more_connections_than_it_takes(self):
        many = []
        for _ in range(300):
            try:
                many.append(socket.create_connection(('127.0.0.1', self.s.port), timeout=2))
            except OSError:
                break
        for s in many:
            s.close()
        time.sleep(0.5)
        self.s.json('GET', '/api/comics')

    # ------------------------------------------------------------------------------------------------------- drawing

    def test_draws_what_the_command_line_draws_while_others_look_on(self):
        stop = threading.Event()

        def look(id):
            while not stop.is_set():
                self.s.comic(id)
                time.sleep(0.05)

        id = self.s.draw('Onlookers', 6)
        tabs = [threading.Thread(target=look, args=(id,)) for _ in range(10)]
        for t in tabs:
            t.start()
        slow = socket.create_connection(('127.0.0.1', self.s.port)) # asks, and does not read
        slow.sendall(b'GET /styles.png HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n' % self.s.port * 50)
        c = self.s.wait(id)
        stop.set()
        for t in tabs:
            t.join()
        slow.close()
        self.assertEqual((len(c['panels']), len(c['pages'])), (4, 1))
        out = self.s.folder + '/by-hand'
        with open(self.s.folder + '/a.story', 'w') as f:
            f.write(QUICK % ('Onlookers', 6))
        subprocess.run([PROGRAM, '--story', f.name, '--output_dir', out, '--format', 'png,pdf,cbz'], check=True,
                       capture_output=True)
        for kind, name in ('panel/1', 'panel-01.png'), ('panel/4', 'panel-04.png'), ('page/1', 'page-01.png'), \
                ('pdf', 'comic.pdf'), ('cbz', 'comic.cbz'):
            with open(out + '/' + name, 'rb') as f:
                self.assertEqual(self.s.request('GET', '/api/comics/%s/%s' % (id, kind))[2], f.read(), name)
        recipe = self.s.json('GET', '/api/comics/%s/panel/1?recipe=1' % id)
        self.assertEqual(recipe['seed'], '4')
        status, headers, png = self.s.request('GET', '/api/comics/%s/page/1?download=1' % id)
        self.assertIn('attachment', headers['Content-Disposition'])
        again = self.s.json('POST', '/api/read', png)['story']
        self.assertTrue(self.s.json('POST', '/api/check', {'story': again})['ok'], again)
        self.assertIn('[Rosa] waving on the street #"Morning!"', again)
        for action in 'nothing', 'DRAW', 'draw/1':
            self.assertGreaterEqual(self.s.request('POST', '/api/comics/%s/%s' % (id, action), {})[0], 400)
        self.s.json('DELETE', '/api/comics/' + id)
        self.s.json('GET', '/api/comics/' + id, status=404)
        self.assertFalse(os.path.exists(self.s.library + '/' + id))

    def test_queue_survives_kills(self):
        steps = 20 if SANITIZED else 30  # a sanitized step takes long
        first, second = self.s.draw('First', steps), self.s.draw('Second', 3)
        while not (self.s.comic(first).get('progress') or {}).get('step'):
            time.sleep(0.05)
        self.assertEqual(self.s.comic(second)['state'], 'queued')
        for how in signal.SIGKILL, signal.SIGTERM:
            self.s.kill(how)
            self.s.start()
            states = self.s.comic(first)['state'], self.s.comic(second)['state']
            # a disk that stalls may let the drawing overtake us; the order stays, and nothing is lost
            self.assertIn(states, (('drawing', 'queued'), ('finished', 'queued'), ('finished', 'drawing'),
                                   ('finished', 'finished')))
            time.sleep(0.5)
        self.s.wait(first)
        self.s.wait(second)
        out = self.s.folder + '/unbroken'
        with open(self.s.folder + '/b.story', 'w') as f:
            f.write(QUICK % ('First', steps))
        subprocess.run([PROGRAM, '--story', f.name, '--output_dir', out], check=True, capture_output=True)
        with open(out + '/panel-02.png', 'rb') as f:
            self.assertEqual(self.s.request('GET', '/api/comics/%s/panel/2' % first)[2], f.read())

    def test_one_studio_for_a_library(self):
        other = subprocess.run([STUDIO, '--port', str(self.s.port + 1 if self.s.port < 65000 else 5000), '--library',
                                self.s.library], capture_output=True, timeout=20)
        self.assertEqual(other.returncode, 2)
        self.assertIn(b'another studio', other.stderr)
        other = subprocess.run([STUDIO, '--port', str(self.s.port), '--library', self.s.folder + '/other'],
                               capture_output=True, timeout=20)
        self.assertEqual(other.returncode, 2)
        self.assertIn(b'Another port', other.stderr)

    # ------------------------------------------------------------------------------------------- the other interface

    def test_the_most_used_web_uis_interface(self):
        s = self.s
        body = {'prompt': 'a girl [in] the park # 1', 'negative_prompt': 'crowd', 'steps': 3, 'cfg_scale': 2, 'seed': 5,
                'sampler_name': 'Euler a', 'width': 128, 'height': 128}
        answer = s.json('POST', '/sdapi/v1/txt2img', body)
        png = base64.b64decode(answer['images'][0])
        self.assertTrue(png.startswith(b'\x89PNG'))
        info = s.json('POST', '/sdapi/v1/png-info', {'image': 'data:image/png;base64,' + answer['images'][0]})['info']
        for text in 'a girl in the park # 1', 'Negative prompt: crowd', 'Steps: 3', 'Sampler: Euler a', 'Seed: 5', 'Size: 128x128':
            self.assertIn(text, info)
        self.assertEqual(json.loads(answer['info'])['infotexts'][0], info)
        neutral = {**body, 'seed': -1, 'n_iter': 1, 'batch_size': 1, 'enable_hr': False}
        texts = [json.loads(s.json('POST', '/sdapi/v1/txt2img', neutral)['info'])['infotexts'][0] for _ in range(2)]
        self.assertEqual(len({re.search('Seed: ([0-9]+)', text).group(1) for text in texts} | {'3407'}), 3)
        self.assertEqual(s.json('GET', '/sdapi/v1/progress')['progress'], 0)
        self.assertIn('Euler a', [x['name'] for x in s.json('GET', '/sdapi/v1/samplers')])
        models = s.json('GET', '/sdapi/v1/sd-models')
        for name in models[0]['title'], models[0]['model_name']:
            s.json('POST', '/sdapi/v1/txt2img', {**body, 'override_settings': {'sd_model_checkpoint': name}})
        s.json('POST', '/sdapi/v1/interrupt', {})
        for wrong in {}, {'prompt': ' '}, {'prompt': 'x', 'sampler_name': 'Magic'}, {'prompt': 'x', 'steps': -5}, \
                {'prompt': 'x', 'width': 'wide'}, {**body, 'n_iter': 2}, {**body, 'batch_size': 3}, {**body, 'enable_hr': True}:
            self.assertGreaterEqual(s.request('POST', '/sdapi/v1/txt2img', wrong)[0], 400)

    def test_ends_though_somebody_waits_for_a_picture(self):
        body = {'prompt': 'the beach', 'steps': 500, 'width': 128, 'height': 128, 'sampler_name': 'DPM++ 2M', 'scheduler': 'karras'}
        answers = []

        def wait():
            try:
                answers.append(self.s.request('POST', '/sdapi/v1/txt2img', body)[0])
            except ConnectionError: # it has ended before it could say so
                answers.append(503)

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not self.s.json('GET', '/sdapi/v1/progress')['state']['sampling_step']:
            time.sleep(0.05)
        id = self.s.json('GET', '/api/comics')['drawing']
        self.assertIn('sampler: dpmpp_2m_karras\n', self.s.comic(id)['story'])
        self.s.kill(signal.SIGTERM)
        waiting.join()
        self.assertEqual(answers, [503])
        self.s.start()
        self.s.json('GET', '/api/comics/' + id, status=404) # nobody is there to take it
        self.assertFalse(os.path.exists(self.s.library + '/' + id))


if __name__ == '__main__':
    unittest.main(verbosity=2)
