"""The studio's page in a real browser: Debian's chromium, headless, by python3-selenium."""
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from studio import QUICK, Studio


def browser(downloads):
    options = Options()
    options.binary_location = '/usr/bin/chromium'
    for word in '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--window-size=1360,1000':
        options.add_argument(word)
    options.add_experimental_option('prefs', {'download.default_directory': downloads})
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    return webdriver.Chrome(service=Service('/usr/bin/chromedriver'), options=options)


class Browser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = Studio()
        cls.downloads = tempfile.mkdtemp(prefix='storydiff-downloads-')
        cls.d = browser(cls.downloads)
        cls.d.implicitly_wait(0)
        cls.home = 'http://127.0.0.1:%d/' % cls.s.port

    @classmethod
    def tearDownClass(cls):
        cls.d.quit()
        cls.s.close()
        subprocess.run(['rm', '-r', cls.downloads], check=True)

    def setUp(self):
        self.d.get(self.home + '#comics')
        self.d.execute_script('localStorage.clear()')
        self.d.get(self.home + '?' + self.id()) # another address: the page is loaded anew
        self.until(lambda: self.texts('#examples button'))
        self.d.get_log('browser')

    def tearDown(self):
        errors = [e for e in self.d.get_log('browser') if e['level'] == 'SEVERE' and 'ERR_CONNECTION' not in e['message']
                  and 'status of 40' not in e['message']]
        self.assertEqual(errors, [])

    # ------------------------------------------------------------------------------------------------------- helpers

    def all(self, css):
        return self.d.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        return self.until(lambda: self.all(css))[0]

    def texts(self, css):
        return self.d.execute_script('return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)', css)

    def value(self, css):
        return self.d.execute_script('return document.querySelector(arguments[0]).value', css)

    def until(self, ready, seconds=60):
        end = time.time() + seconds
        while time.time() < end:
            try:
                result = ready()
            except Exception: # an element that has just been replaced
                result = None
            if result:
                return result
            time.sleep(0.05)
        self.fail('it never came: ' + str([self.texts(css) for css in ('#verdict', '#comic-state', '#comic-message')]))

    def click(self, element):
        element = self.one(element) if isinstance(element, str) else element
        self.d.execute_script('arguments[0].scrollIntoView({block: "center"})', element)
        element.click()

    def type(self, css, text):
        element = self.one(css) if isinstance(css, str) else css
        self.click(element)
        element.send_keys(Keys.CONTROL, 'a')
        element.send_keys(text)

    def write(self, text):
        """Into the text view, as pasting does."""
        self.click('#mode-text')
        self.d.execute_script('const t = document.getElementById("script"); t.value = arguments[0];'
                              't.dispatchEvent(new Event("input"))', text)

    def drawable(self):
        return self.until(lambda: self.one('#draw').is_enabled() and self.texts('#verdict')[0])

    def state(self):
        return self.texts('#comic-state')[0].split(' ·')[0]

    def draw(self):
        self.drawable()
        self.click('#draw')
        self.until(lambda: '#comic/' in self.d.current_url)
        return self.d.current_url.split('#comic/')[1]

    def downloaded(self, ending):
        return self.until(lambda: [self.downloads + '/' + n for n in os.listdir(self.downloads) if n.endswith(ending)])[0]

    # --------------------------------------------------------------------------------------------------------- tests

    def test_a_comic_from_first_word_to_download(self):
        # typed, with the keyboard alone
        self.click('#blank')
        self.assertFalse(self.one('#draw').is_enabled())
        self.assertEqual(self.texts('.error:not(:empty)'), [])
        self.type('#title', 'The Größe of 日本')
        self.type('#characters .name', 'Mia')
        self.type('#characters .description input', 'a girl with black hair')
        self.type('.panel textarea', '[Mia] reading in the park')
        self.type('.panel .caption', 'A page a day.')
        self.click('#add-panel')
        self.d.switch_to.active_element.send_keys('running on the bea')
        self.d.switch_to.active_element.send_keys(Keys.HOME, Keys.DELETE, Keys.DELETE, Keys.DELETE) # "a] running": a mistake
        self.until(lambda: self.texts('.panel.wrong .error'))
        self.assertIn('wrong', self.all('.panel')[1].get_attribute('class'))
        self.assertFalse(self.one('#draw').is_enabled())
        self.d.switch_to.active_element.send_keys(Keys.CONTROL, 'a')
        self.d.switch_to.active_element.send_keys('[Mia] running on the beach')
        self.until(lambda: not self.texts('.panel.wrong'))
        self.click('#mode-text')
        script = self.value('#script')
        for line in ('title: The Größe of 日本', '[Mia] a girl with black hair', '[Mia] reading in the park #A page a day.',
                     '[Mia] running on the beach'):
            self.assertIn(line, script.split('\n'))
        self.write(script.replace('---', '---\n[NC] the beach #Nobody.') + '\n[Mia] waving on the street #"Hi!" 你好\n')
        self.until(lambda: '4 panels' in self.texts('#verdict')[0])
        self.click('#mode-cards')
        self.assertEqual(len(self.all('.panel')), 4)

        # what a dry run says
        self.until(lambda: self.one('#show-plan').is_displayed())
        self.click('#show-plan')
        self.until(lambda: 'a girl with black hair' in ''.join(self.texts('#plan')))
        self.assertRegex(''.join(self.texts('#plan')), r'\d+ tokens')
        self.click('#dialog-plan button')

        # drawn: previews change, a stop, a reload, going on
        self.write(self.value('#script').replace('style_name', 'sampling_steps: 40\nstyle_name'))
        id = self.draw()
        shots = set()
        for _ in range(2):
            self.until(lambda: self.all('.sheet') and self.all('.sheet')[0].value_of_css_property('background-image') not in shots)
            shots.add(self.all('.sheet')[0].value_of_css_property('background-image'))
        self.assertRegex(self.texts('#progress-text')[0], r'Step \d+ of 40')
        self.d.refresh()
        self.until(lambda: self.state() == 'Being drawn' and self.all('.sheet'))
        self.click('#comic-actions button')
        self.until(lambda: self.state() == 'Stopped')
        self.assertIn('stopped after step', self.texts('#comic-message')[0])
        self.until(lambda: 'Go on' in self.texts('#comic-actions button'))
        self.click('#comic-actions button')
        self.until(lambda: self.state() == 'Finished')
        self.until(lambda: len(self.all('#drawn img')) == 4 and len(self.all('#pages img')) == 1)
        self.assertTrue(self.d.execute_script('return [...document.querySelectorAll("#drawn img, #pages img")].every(i => i.complete && i.naturalWidth > 0)'))

        # one panel redrawn: the others keep their bytes
        before = [self.s.request('GET', '/api/comics/%s/panel/%d' % (id, n))[2] for n in (1, 2, 3, 4)]
        self.click(self.all('#drawn button.small')[0])
        self.type('#redraw-text', '[NC] the city at night')
        self.type('#redraw-seed', '99')
        self.click('#redraw-go')
        self.until(lambda: self.state() != 'Finished')
        self.until(lambda: self.state() == 'Finished')
        after = [self.s.request('GET', '/api/comics/%s/panel/%d' % (id, n))[2] for n in (1, 2, 3, 4)]
        self.assertEqual([a == b for a, b in zip(before, after)], [False, True, True, True])
        self.assertEqual(self.s.json('GET', '/api/comics/%s/panel/1?recipe=1' % id)['panel_seed'], '99')

        # a caption edited, the page laid out again, nothing drawn
        page = self.s.request('GET', '/api/comics/%s/page/1' % id)[2]
        self.type('#drawn li:nth-child(2) textarea', 'Two pages a day.')
        self.click('#lay-out')
        self.until(lambda: self.s.request('GET', '/api/comics/%s/page/1' % id)[2] != page and self.state() == 'Finished')
        self.assertEqual([self.s.request('GET', '/api/comics/%s/panel/%d' % (id, n))[2] for n in (1, 2, 3, 4)], after)
        self.assertIn('#Two pages a day.', self.s.comic(id)['story'])

        # large view, by keyboard
        self.click('#drawn .picture-button')
        self.until(lambda: self.one('#dialog-large').is_displayed())
        first = self.one('#large-image').get_attribute('src')
        self.d.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        self.until(lambda: self.one('#large-image').get_attribute('src') != first)
        self.d.switch_to.active_element.send_keys(Keys.ESCAPE)
        self.until(lambda: not self.one('#dialog-large').is_displayed())

        # what other programs think of the files
        for text in 'PDF', 'CBZ', 'PNG', 'Story':
            self.until(lambda: [e for e in self.all('#downloads a') if e.text == text])
            self.click([e for e in self.all('#downloads a') if e.text == text][0])
        pdf, cbz, png, story = (self.downloaded(e) for e in ('.pdf', '.cbz', '-page-01.png', '.story'))
        info = subprocess.run(['pdfinfo', pdf], capture_output=True, text=True, check=True).stdout
        with open(png, 'rb') as f:
            head = f.read(24)
        size = int.from_bytes(head[16:20], 'big'), int.from_bytes(head[20:24], 'big')
        self.assertRegex(info, r'Pages:\s+1\n')
        self.assertRegex(info, r'Page size:\s+%d x %d pts' % size)
        self.assertRegex(info, r'Title:\s+The Größe of 日本')
        text = subprocess.run(['pdftotext', pdf, '-'], capture_output=True, text=True, check=True).stdout
        for caption in 'Two pages a day.', '你好', 'Nobody.':
            self.assertIn(caption, text)
        self.assertNotIn('A page a day', text)
        listing = subprocess.run(['unzip', '-t', cbz], capture_output=True, text=True, check=True).stdout
        self.assertIn('ComicInfo.xml', listing)
        self.assertIn('No errors', listing)

        # a picture loads as its story
        self.d.get(self.home + '#write')
        self.one('#file').send_keys(png)
        self.until(lambda: '[Mia] running on the beach' in self.value('#script'))
        self.drawable()
        self.one('#file').send_keys(story)
        self.until(lambda: 'title: The Größe of 日本' in self.value('#script'))

    def test_the_text_is_kept_to_the_letter(self):
        script = '// a comment\n\ntitle:  Odd   spaces \nstyle-name: Line art\nseed:7\n[A B]a man\n  [Zoë]   a woman, 30\n\n---\n// another\n' \
                 '  [A B] and [Zoë]  run # fast # really \n[A B] x\n\n[Zoë] y\n[NC] z #\n'
        self.write(script)
        self.drawable()
        self.click('#mode-cards')
        self.click('#mode-text')
        self.assertEqual(self.value('#script'), script)
        self.click('#mode-cards')
        self.type('.panel:nth-child(2) textarea', '[A B] sits')
        self.type('#set-seed', '8')
        self.type('.panel:nth-child(4) .caption', 'Z.')
        self.assertEqual(self.value('#script'), script.replace('[A B] x', '[A B] sits').replace('seed:7', 'seed: 8').replace('[NC] z #', '[NC] z #Z.'))

    def test_mistakes_are_shown_where_they_are(self):
        self.write(QUICK % ('Wrong', 4))
        self.drawable()
        self.write((QUICK % ('Wrong', 4)).replace('[Rosa] reading', '[Rasa] reading'))
        self.until(lambda: 'Line 9: ' in self.texts('#script-error')[0])
        self.assertIn('did you mean [Rosa]?', self.texts('#script-error')[0])
        self.assertEqual(self.texts('#gutter .bad'), ['9'])
        self.click('#mode-cards')
        self.assertTrue(self.until(lambda: self.texts('.panel:nth-child(2) .error')))
        self.write((QUICK % ('Wrong', 4)).replace('seed: 4', 'seed: four'))
        self.until(lambda: 'whole number' in self.texts('#set-seed-hint')[0])
        self.write((QUICK % ('Wrong', 4)).replace('csa_start: 1', 'csa_strat: 1'))
        self.until(lambda: 'did you mean csa_start?' in self.texts('#verdict')[0])
        self.write((QUICK % ('Wrong', 4)).replace('seed: 4', 'width: 100')) # which the model alone knows
        self.until(lambda: 'multiples of' in self.texts('#verdict')[0])

    def test_panels_move_by_keys_and_come_back(self):
        self.write(QUICK % ('Move', 4))
        self.drawable()
        self.click('#mode-cards')
        order = lambda: [t.split('] ')[1] for t in self.d.execute_script('return [...document.querySelectorAll(".panel textarea:not(.caption)")].map(e => e.value)')]
        first = order()
        self.click('.panel:nth-child(1) .number')
        ActionChains(self.d).key_down(Keys.ALT).send_keys(Keys.ARROW_RIGHT).key_up(Keys.ALT).perform()
        self.until(lambda: order() == [first[1], first[0], *first[2:]])
        ActionChains(self.d).key_down(Keys.ALT).send_keys(Keys.ARROW_LEFT).key_up(Keys.ALT).perform()
        self.until(lambda: order() == first)
        self.click('.panel:nth-child(3) button[aria-label^=Remove]')
        self.until(lambda: order() == first[:2] + first[3:])
        self.click('#toast button')
        self.until(lambda: order() == first)
        self.click('.panel:nth-child(1) button[aria-label^=Duplicate]')
        self.until(lambda: order() == [first[0], *first])
        self.click('.panel:nth-child(1) .who button:nth-child(2)') # nobody
        self.until(lambda: '[NC] standing in the bedroom #No alarm today.' in self.value('#script'))

    def test_killed_in_the_middle_and_found_again(self):
        self.write(QUICK % ('Phoenix', 30))
        id = self.draw()
        self.until(lambda: self.all('.sheet'))
        self.s.kill(signal.SIGKILL)
        time.sleep(0.5)
        self.s.start()
        self.until(lambda: self.state() == 'Finished', 120)
        self.d.get(self.home + '#comics')
        self.until(lambda: 'Phoenix' in self.texts('#comics .about a'))
        # it stays in the list until somebody says twice that it should go
        delete = [b for b in self.all('#comics button') if b.get_attribute('aria-label') == 'Delete Phoenix'][0]
        self.click(delete)
        self.click('#dialog-delete button[value=no]')
        time.sleep(0.3)
        self.assertIn('Phoenix', self.texts('#comics .about a'))
        self.click(delete)
        self.click('#dialog-delete button[value=yes]')
        self.until(lambda: 'Phoenix' not in self.texts('#comics .about a'))
        self.s.json('GET', '/api/comics/' + id, status=404)

    def test_characters_are_kept_between_stories(self):
        self.click('#examples button')
        self.until(lambda: self.value('#characters .name') == 'Rosa')
        self.click('#characters button[aria-label^=Keep]')
        self.until(lambda: [c['name'] for c in self.s.json('GET', '/api/cast')['characters']] == ['Rosa'])
        self.click('#blank')
        self.d.refresh()
        self.until(lambda: self.texts('#cast button') == ['+ Rosa'])
        self.click('#cast button')
        self.assertIn('[Rosa] a girl', self.value('#script'))

    # -------------------------------------------------------------------------------------------------------- people

    def test_everything_has_a_name_and_contrast(self):
        unnamed = '''
            const named = e => e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim() || e.closest('label')
              || (e.id && document.querySelector('label[for="' + e.id + '"]')) || e.title || (e.alt !== undefined);
            return [...document.querySelectorAll('button, a[href], input, textarea, select, dialog, [role=progressbar]')]
              .filter(e => !e.closest('[aria-hidden=true]') && !named(e)).map(e => e.outerHTML.slice(0, 120));'''
        # WCAG 2.1: (L1 + 0.05) / (L2 + 0.05) of each visible text against the nearest background that is not transparent
        contrast = '''
            const rgb = s => { const m = s.match(/[\\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m; };
            const lum = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
            const found = [];
            for (const e of document.querySelectorAll('body *')) {
              if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && !e.value) continue;
              const box = e.getBoundingClientRect(), style = getComputedStyle(e);
              if (box.width < 2 || e.disabled || style.visibility === 'hidden' || e.tagName === 'OPTION' || +style.opacity < .1) continue;
              let under = null;
              for (let p = e; p && !under; p = p.parentElement) under = rgb(getComputedStyle(p).backgroundColor);
              const a = lum(rgb(style.color).slice(0, 3)), b = lum((under || [255, 255, 255]).slice(0, 3));
              const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
              if (ratio < 4.5) found.push(ratio.toFixed(2) + ' ' + e.outerHTML.slice(0, 100));
            }
            return found;'''
        self.click('#examples button')
        self.drawable()
        for details in self.all('#folded details'):
            self.d.execute_script('arguments[0].open = true', details)
        id = self.s.draw('Shown', 3)
        self.s.wait(id)
        for scheme in 'light', 'dark':
            self.d.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [{'name': 'prefers-color-scheme', 'value': scheme}]})
            for view, ready in ('#write', '.panel'), ('#comics', '#comics li'), ('#comic/' + id, '#drawn img'):
                self.d.get(self.home + '?' + scheme + view)
                self.until(lambda: self.all(ready))
                time.sleep(0.3)
                self.assertEqual(self.d.execute_script(unnamed), [], view)
                self.assertEqual(self.d.execute_script(contrast), [], scheme + view)
        self.d.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': []})

    def test_a_phones_width_is_enough(self):
        id = self.s.draw('Narrow', 3)
        self.s.wait(id)
        self.d.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {'width': 360, 'height': 740, 'deviceScaleFactor': 2, 'mobile': True})
        try:
            for view, ready in ('#write', '.panel'), ('#comics', '#comics li'), ('#comic/' + id, '#drawn img'):
                self.d.get(self.home + '?phone' + view)
                self.until(lambda: self.all(ready))
                self.assertLessEqual(self.d.execute_script('return document.documentElement.scrollWidth'), 360, view)
        finally:
            self.d.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})

    def test_first_paint(self):
        paints = []
        for i in range(3):
            self.d.get(self.home + '?paint%d' % i)
            paints.append(self.until(lambda: self.d.execute_script('return (performance.getEntriesByName("first-contentful-paint")[0] || {}).startTime')))
        self.assertLess(min(paints), 200 if not os.environ.get('SLOW') else 2000)


if __name__ == '__main__':
    unittest.main(verbosity=2)
