// The studio's page. One idea: the story's text is the truth (the same script that the command line reads), and the
// cards are a view of its lines. An edit in a card rewrites that one line; everything else in the text stays as it is,
// comments and blanks too. What is wrong, and where, the studio's own parser says (POST /api/check).
'use strict';

const $ = id => document.getElementById(id);

// h('button', {type: 'button', onclick: f}, 'text', node): an element, without ever parsing HTML.
function h(tag, props, ...children) {
  const e = document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) e.addEventListener(key.slice(2), value);
    else if (key in e && key !== 'list' && key !== 'role') e[key] = value;
    else e.setAttribute(key, value === true ? '' : value);
  }
  e.append(...children.filter(c => c !== null && c !== undefined));
  return e;
}

async function api(method, path, body) {
  const options = {method};
  if (body instanceof Blob) options.body = body;
  else if (body !== undefined) options.body = JSON.stringify(body);
  const response = await fetch(path, options);
  const answer = (response.headers.get('content-type') || '').startsWith('application/json')
    ? await response.json()
    : await response.text();
  if (!response.ok) throw new Error(answer.error || response.statusText);
  return answer;
}

let toastTimer;
function toast(text, undo) {
  $('toast').replaceChildren(
    h('span', {}, text),
    undo
      ? h(
          'button',
          {
            type: 'button',
            onclick: () => {
              undo();
              $('toast').replaceChildren();
            },
          },
          'Undo',
        )
      : null,
  );
  $('toast')
    .querySelectorAll('span:empty')
    .forEach(s => s.remove());
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $('toast').replaceChildren(), undo ? 8000 : 4500);
}
const failed = error =>
  toast(error.message === 'Failed to fetch' ? 'The studio does not answer: is it still running?' : error.message);

const noBreak = e => {
  if (e.key === 'Enter') e.preventDefault();
};
const dice = () => String(crypto.getRandomValues(new Uint32Array(1))[0] >>> 1);

// ------------------------------------------------------------------------------------------------------- the script

// Each line of a script: {kind, raw, ..}. The same rules as storydiff/story/script.h; whatever fits none of them is
// 'other', kept as it is.
function parse(text) {
  let below = false;
  return text.split('\n').map(raw => {
    const line = raw.replace(/\r$/, ''),
      bare = line.trim();
    if (bare === '') return {kind: 'blank', raw};
    if (bare.startsWith('//')) return {kind: 'comment', raw};
    if (bare === '---') {
      below = true;
      return {kind: 'rule', raw};
    }
    if (below) {
      const hash = line.lastIndexOf('#');
      return {
        kind: 'panel',
        raw,
        text: hash < 0 ? line : line.slice(0, hash),
        caption: hash < 0 ? null : line.slice(hash + 1).trim(),
      };
    }
    let m = line.match(/^\s*\[([^\]]*)\](.*)$/);
    if (m) return {kind: 'character', raw, name: m[1], description: m[2]};
    m = line.match(/^\s*([A-Za-z][\w-]*)\s*:(.*)$/);
    if (m)
      return {
        kind: 'setting',
        raw,
        key: m[1].replace(/-/g, '_').replace(/^style$/, 'style_name'),
        written: m[1],
        value: m[2].trim(),
      };
    return {kind: 'other', raw};
  });
}

const join = lines => lines.map(l => l.raw).join('\n');
const oneLine = text => text.replace(/\s*[\r\n]+\s*/g, ' ');
const panelLine = (text, caption) => (caption === null ? text : text.replace(/\s*$/, ' ') + '#' + caption);

const BLANK = 'title: \nstyle_name: Comic book\n\n[Hero] \n---\n[Hero] \n';

const doc = {text: '', lines: []};
let info = null; // GET /api/studio
let verdict = null; // the last answer of /api/check
let checkNumber = 0,
  checkTimer,
  planTimer,
  plan = null;

function of(kind) {
  return doc.lines.map((line, index) => ({...line, index})).filter(l => l.kind === kind);
}
const setting = key => (of('setting').find(s => s.key === key) || {}).value || '';

// Everything goes through here. from: 'text' (typed there), 'card' (typed in a card: what has the focus stays), or ''.
function setText(text, from) {
  doc.text = text;
  doc.lines = parse(text);
  try {
    localStorage.setItem('story', text);
  } catch {
    /* private mode: then a reload loses it */
  }
  if (from !== 'text') $('script').value = text;
  if (from !== 'card') showCards();
  showSettings();
  $('title').value = document.activeElement === $('title') ? $('title').value : setting('title');
  gutter();
  checkSoon();
}

function replaceLine(index, raw, from) {
  doc.lines[index] = {...doc.lines[index], raw};
  setText(join(doc.lines), from);
}

function change(what) {
  // of whole lines, with an undo
  const before = doc.text;
  what(doc.lines);
  setText(join(doc.lines), '');
  return () => setText(before, '');
}

function setSetting(key, value, from) {
  const old = of('setting').find(s => s.key === key),
    raw = key + ': ' + oneLine(value);
  if (old && value === '' && key !== 'title') doc.lines.splice(old.index, 1);
  else if (old) doc.lines[old.index] = {kind: 'setting', raw: old.written + ': ' + oneLine(value)};
  else if (value !== '') {
    const last = of('setting').pop();
    doc.lines.splice(last ? last.index + 1 : 0, 0, {kind: 'setting', raw});
  }
  setText(join(doc.lines), from || 'card');
}

function insertAfter(kind, raw, otherwise) {
  const last = of(kind).pop(),
    rule = of('rule')[0];
  let at = last ? last.index + 1 : otherwise === 'end' ? doc.lines.length : rule ? rule.index : doc.lines.length;
  if (!last && otherwise === 'end' && !rule) {
    doc.lines.push({raw: '---'});
    at = doc.lines.length;
  }
  if (!last && otherwise === 'end') while (at > 0 && doc.lines[at - 1].kind === 'blank') at--;
  doc.lines.splice(at, 0, {raw});
  setText(join(doc.lines), '');
}

// ------------------------------------------------------------------------------------------------------- characters

const hues = ['#c8321f', '#2367b5', '#2f7d46', '#a4630b', '#7a3fa8', '#0e7c86', '#b0316f', '#5d6b1f'];
let cast = [];

function showCharacters() {
  const list = of('character');
  $('characters').replaceChildren(
    ...list.map((c, i) => {
      const rewrite = () => {
        const old = doc.lines[c.index],
          name = oneLine(nameField.value),
          description = oneLine(about.value);
        const was = parse(old.raw)[0].name;
        doc.lines[c.index] = {
          raw: '[' + name + ']' + (/^\s/.test(description) || description === '' ? '' : ' ') + description,
        };
        if (name !== was && name !== '' && !list.some(o => o.index !== c.index && o.name === was))
          doc.lines = doc.lines.map(l =>
            l.kind === 'panel'
              ? {...l, raw: panelLine(l.text.split('[' + was + ']').join('[' + name + ']'), l.caption)}
              : l,
          );
        setText(join(doc.lines), 'card');
        showPanels();
        showCast();
      };
      const nameField = h('input', {
        className: 'name',
        value: c.name,
        'aria-label': 'Name of character ' + (i + 1),
        placeholder: 'Name',
        maxLength: 60,
        autocomplete: 'off',
        oninput: rewrite,
      });
      const about = h('input', {
        value: c.description.trim(),
        'aria-label': 'Description of ' + (c.name || 'character ' + (i + 1)),
        placeholder: 'a girl with red hair, wearing a yellow top',
        autocomplete: 'off',
        oninput: rewrite,
      });
      const kept = () => cast.some(k => k.name === nameField.value && k.description === about.value.trim());
      const item = h(
        'li',
        {id: 'line-' + c.index},
        nameField,
        h('div', {className: 'description'}, about),
        h(
          'span',
          {className: 'row'},
          h(
            'button',
            {
              type: 'button',
              className: 'icon',
              title: 'Keep for other stories',
              'aria-label': 'Keep ' + c.name + ' for other stories',
              'aria-pressed': String(kept()),
              onclick: () => keep(nameField.value, about.value.trim()),
            },
            kept() ? '★' : '☆',
          ),
          h(
            'button',
            {
              type: 'button',
              className: 'icon',
              title: 'Remove',
              'aria-label': 'Remove ' + (c.name || 'character'),
              onclick: () =>
                toast(
                  'Character removed.',
                  change(lines => lines.splice(c.index, 1)),
                ),
            },
            '×',
          ),
        ),
      );
      item.style.setProperty('--hue', hues[i % hues.length]);
      return item;
    }),
  );
}

function showCast() {
  const here = of('character').map(c => c.name);
  const others = cast.filter(k => !here.includes(k.name));
  $('cast').replaceChildren(
    ...(others.length ? [h('span', {className: 'hint'}, 'From your cast:')] : []),
    ...others.map(k =>
      h(
        'button',
        {
          type: 'button',
          className: 'chip',
          title: k.description,
          onclick: () => insertAfter('character', '[' + k.name + '] ' + k.description),
        },
        '+ ' + k.name,
      ),
    ),
  );
}

async function keep(name, description) {
  if (name === '') return;
  const there = cast.find(k => k.name === name && k.description === description);
  cast = cast.filter(k => k.name !== name);
  if (!there) cast.push({name, description});
  showCharacters();
  showCast();
  try {
    await api('PUT', '/api/cast', {characters: cast});
    toast(there ? name + ' is no longer kept.' : name + ' is kept: add ' + name + ' to any story with one click.');
  } catch (error) {
    failed(error);
  }
}

// ----------------------------------------------------------------------------------------------------------- panels

let dragged = null;

function movePanel(from, to) {
  const list = of('panel');
  if (to < 0 || to >= list.length) return;
  const undo = change(lines => {
    const raws = list.map(p => p.raw),
      [raw] = raws.splice(from, 1);
    raws.splice(to, 0, raw);
    list.forEach((p, i) => {
      lines[p.index] = {raw: raws[i]};
    });
  });
  const card = $('panels').children[to];
  if (card) card.querySelector('.number').focus();
  return undo;
}

function panelCard(p, i, all, names) {
  const write = () =>
    replaceLine(
      p.index,
      panelLine(
        oneLine(text.value),
        caption.value === '' && doc.lines[p.index].caption !== '' ? null : oneLine(caption.value),
      ),
      'card',
    );
  const text = h('textarea', {
    value: p.text.trim(),
    'aria-label': 'Panel ' + (i + 1) + ': what happens',
    placeholder: '[Name] doing something somewhere',
    oninput: () => {
      write();
      chips();
    },
  });
  const caption = h('textarea', {
    className: 'caption',
    rows: 1,
    value: p.caption || '',
    'aria-label': 'Panel ' + (i + 1) + ': caption',
    placeholder: 'Caption',
    oninput: () => write(),
    onkeydown: noBreak,
  });
  const who = h('div', {className: 'who', role: 'group', 'aria-label': 'Who is in panel ' + (i + 1)});
  const has = name => text.value.includes('[' + name + ']');
  const toggle = name => {
    if (has(name))
      text.value = text.value
        .split('[' + name + ']')
        .join('')
        .replace(/ {2,}/g, ' ')
        .trim();
    else if (name === 'NC')
      text.value =
        '[NC] ' +
        text.value
          .replace(/\[[^\]]*\]/g, '')
          .replace(/ {2,}/g, ' ')
          .trim();
    else {
      text.value = text.value.split('[NC]').join('').trim();
      text.value = /\[[^\]]+\]/.test(text.value)
        ? text.value.replace(/(\[[^\]]+\])(?!.*\[)/, '$1 and [' + name + ']')
        : '[' + name + '] ' + text.value;
    }
    write();
    chips(name);
  };
  const chips = focus => {
    who.replaceChildren(
      ...[...names, 'NC'].map(name =>
        h(
          'button',
          {type: 'button', className: 'chip', 'aria-pressed': String(has(name)), onclick: () => toggle(name)},
          name === 'NC' ? 'nobody' : name,
        ),
      ),
    );
    if (focus) who.children[[...names, 'NC'].indexOf(focus)].focus();
  };
  const number = h(
    'button',
    {
      type: 'button',
      className: 'number',
      draggable: true,
      title: 'Drag, or Alt + arrow keys, to reorder',
      'aria-label': 'Panel ' + (i + 1) + ' of ' + all + '. Alt and arrow keys move it',
    },
    String(i + 1),
  );
  const icon = (label, sign, act, disabled) =>
    h(
      'button',
      {
        type: 'button',
        className: 'icon',
        title: label,
        'aria-label': label + ' panel ' + (i + 1),
        disabled,
        onclick: act,
      },
      sign,
    );
  const card = h(
    'li',
    {className: 'panel', id: 'line-' + p.index},
    h(
      'div',
      {className: 'panel-head'},
      number,
      icon('Move earlier:', '←', () => movePanel(i, i - 1), i === 0),
      icon('Move later:', '→', () => movePanel(i, i + 1), i === all - 1),
      icon('Duplicate', '⧉', () => change(lines => lines.splice(p.index + 1, 0, {raw: p.raw}))),
      icon('Remove', '×', () =>
        toast(
          'Panel ' + (i + 1) + ' removed.',
          change(lines => lines.splice(p.index, 1)),
        ),
      ),
    ),
    who,
    text,
    caption,
    h('div', {className: 'role'}),
  );
  card.addEventListener('keydown', e => {
    const by = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1}[e.key];
    if (e.altKey && by) {
      e.preventDefault();
      movePanel(i, i + by);
    }
  });
  number.addEventListener('dragstart', e => {
    dragged = i;
    e.dataTransfer.effectAllowed = 'move';
    e.dataTransfer.setData('text/plain', String(i));
    card.classList.add('dragged');
  });
  number.addEventListener('dragend', () => {
    dragged = null;
    card.classList.remove('dragged');
  });
  card.addEventListener('dragover', e => {
    if (dragged !== null) {
      e.preventDefault();
      card.classList.add('over');
    }
  });
  card.addEventListener('dragleave', () => card.classList.remove('over'));
  card.addEventListener('drop', e => {
    if (dragged !== null) {
      e.preventDefault();
      movePanel(dragged, i);
      dragged = null;
    }
  });
  chips();
  return card;
}

function showPanels() {
  const list = of('panel'),
    names = of('character')
      .map(c => c.name)
      .filter(n => n !== '');
  $('panels').replaceChildren(
    ...list.map((p, i) => panelCard(p, i, list.length, names)),
    h(
      'li',
      {className: 'new-panel'},
      h(
        'button',
        {
          type: 'button',
          id: 'add-panel',
          onclick: () => {
            insertAfter('panel', names.length ? '[' + names[0] + '] ' : '[NC] ', 'end');
            const cards = $('panels').querySelectorAll('.panel textarea:not(.caption)');
            if (cards.length) {
              const t = cards[cards.length - 1];
              t.focus();
              t.setSelectionRange(t.value.length, t.value.length);
            }
          },
        },
        '+ Panel',
      ),
    ),
  );
}

function showCards() {
  showCharacters();
  showCast();
  showPanels();
  mark();
}

// --------------------------------------------------------------------------------------------------------- settings

// Words for people; whatever is not here gets the table's own.
const words = {
  sd_model_name: ['Model', 'What draws. Larger models draw better and take longer.'],
  seed: ['Seed', 'Same seed, same pictures.'],
  width: ['Width', 'Pixels of a panel.'],
  height: ['Height', 'Pixels of a panel.'],
  sampling_steps: ['Steps', 'More are finer and slower.'],
  guidance_scale: ['Guidance', 'How closely the text is followed; up to 1: twice as fast.'],
  negative_prompt: ['Not in the picture', 'What should not be drawn.'],
  sampler: ['Sampler', 'How noise becomes a picture.'],
  comic_type: ['Page', 'four: 2 × 2 with captions below. classic: one tall page. none: panels only.'],
  font: ['Font of captions', 'Any installed one.'],
  csa: ['Form', 'How panels see each other. off: every panel for itself.'],
  id_length: ['Id panels', 'So many first panels of a character define how it looks.'],
  sa32: ['Rate at 1/32', 'Share of the id panels that others see, coarse layers.'],
  sa64: ['Rate at 1/16', 'The same, finer layers.'],
  csa_start: ['From step', 'When panels start to see each other.'],
  freeu: ['FreeU', 'Stronger shapes, calmer details.'],
  fast: ['Fast', 'The three below at once, as measured. Pictures change a little.'],
  precision: ['Precision', 'int8: less memory and, on large models, less time.'],
  cache_interval: ['Reuse', 'Inner layers only in every Nth step: 2 or 3 are faster.'],
  guidance_interval: ['Guidance from-to', 'Part of the steps with guidance, such as 0-0.7.'],
};
const basic = ['sd_model_name', 'seed', 'width', 'height', 'sampling_steps', 'guidance_scale', 'negative_prompt'];
const folds = [
  ['Page', ['comic_type', 'font']],
  ['Consistency', ['csa', 'id_length', 'sa32', 'sa64', 'csa_start', 'freeu']],
  ['Faster', ['fast', 'precision', 'cache_interval', 'guidance_interval']],
  ['More', []],
];
const fields = {}; // key -> {input, box, hint, help}

function makeField(row) {
  const id = 'set-' + row.key,
    [label, hint] = words[row.key] || [row.key.replace(/_/g, ' '), row.help];
  const changed = e =>
    setSetting(
      row.key,
      e.target.type === 'checkbox'
        ? e.target.checked
          ? 'true'
          : ''
        : e.target.value.trim() === row.default && row.kind !== 'seed'
          ? ''
          : e.target.value.trim(),
    );
  const choose = (list, none) =>
    h('select', {id, onchange: changed}, ...none, ...list.map(([value, text]) => h('option', {value}, text)));
  let input,
    extra = null;
  if (row.key === 'sd_model_name') {
    input = choose(
      info.models.map(m => [m.name, m.label]),
      info.models.some(m => m.name === '') ? [] : [h('option', {value: ''}, 'the default')],
    );
    if (info.missing.length)
      extra = h(
        'details',
        {className: 'missing'},
        h('summary', {}, 'More models, and how to get them'),
        h('ul', {}, ...info.missing.map(m => h('li', {}, m.how))),
      );
  } else if (row.key === 'font')
    input = choose(
      info.fonts.map(f => [f.name, f.label]),
      [h('option', {value: ''}, 'DejaVu Sans')],
    );
  else if (row.key === 'sampler')
    input = choose(
      info.samplers.map(s => [s, s]),
      [h('option', {value: ''}, "the model's own")],
    );
  else if (row.kind === 'choice')
    input = choose(
      row.choices.map(c => [c, c]),
      [],
    );
  else if (row.kind === 'flag') input = h('input', {id, type: 'checkbox', onchange: changed});
  else if (row.kind === 'seed')
    input = h('input', {id, inputMode: 'numeric', placeholder: row.default, oninput: changed});
  else if (row.kind === 'integer' || row.kind === 'number')
    input = h('input', {id, inputMode: 'decimal', placeholder: row.default || "model's own", oninput: changed});
  else input = h('input', {id, placeholder: row.default, oninput: changed});
  input.setAttribute('aria-describedby', id + '-hint');
  const about = h('span', {className: 'hint', id: id + '-hint'}, hint);
  const wide =
    ['sd_model_name', 'negative_prompt', 'seed', 'comic_type', 'font', 'csa'].includes(row.key) || !words[row.key];
  const body =
    row.kind === 'flag'
      ? [h('span', {className: 'check'}, input, h('label', {htmlFor: id}, label))]
      : [
          h('label', {htmlFor: id}, label),
          row.kind === 'seed'
            ? h(
                'span',
                {className: 'with-button'},
                input,
                h(
                  'button',
                  {
                    type: 'button',
                    className: 'icon',
                    title: 'Roll a new seed',
                    'aria-label': 'Roll a new seed',
                    onclick: () => {
                      input.value = dice();
                      setSetting('seed', input.value);
                    },
                  },
                  '⚄',
                ),
              )
            : input,
        ];
  const box = h('div', {className: 'setting' + (wide ? ' wide' : '')}, ...body, about, extra);
  fields[row.key] = {input, box, about, hint, row};
  return box;
}

function makeSettings() {
  const rows = Object.fromEntries(info.settings.map(r => [r.key, r]));
  const placed = new Set([...basic, ...folds.flatMap(f => f[1]), 'style_name']);
  folds[folds.length - 1][1] = info.settings.map(r => r.key).filter(k => !placed.has(k));
  $('basic').replaceChildren(...basic.filter(k => rows[k]).map(k => makeField(rows[k])));
  $('folded').replaceChildren(
    ...folds.map(([name, keys]) =>
      h(
        'details',
        {},
        h('summary', {}, name),
        h('div', {className: 'fold'}, ...keys.filter(k => rows[k]).map(k => makeField(rows[k]))),
      ),
    ),
  );
  $('styles').replaceChildren(
    ...info.styles.map((s, i) => {
      const thumb = h('span', {className: 'thumb'});
      thumb.style.backgroundPosition = '0 ' + -62 * i + 'px';
      return h(
        'label',
        {className: 'style', title: s.prompt},
        h('input', {type: 'radio', name: 'style', value: s.name, onchange: () => setSetting('style_name', s.name)}),
        thumb,
        s.name.replace('/', ' / '),
      );
    }),
  );
}

function showSettings() {
  if (!info) return;
  for (const [key, f] of Object.entries(fields)) {
    const value = setting(key);
    if (document.activeElement === f.input && f.input.value.trim() === value) continue;
    if (f.row.kind === 'flag') f.input.checked = ['true', 'yes', 'on', '1'].includes(value);
    else if (f.input.tagName === 'SELECT') {
      const wanted = value || f.row.default;
      if (wanted && ![...f.input.options].some(o => o.value === wanted))
        f.input.append(h('option', {value: wanted}, wanted));
      f.input.value = wanted;
    } else if (document.activeElement !== f.input) f.input.value = value;
  }
  const style = (setting('style_name') || 'Comic book').toLowerCase();
  for (const label of $('styles').children) {
    const on = label.firstChild.value.toLowerCase() === style;
    label.firstChild.checked = on;
    label.classList.toggle('on', on);
  }
}

// ----------------------------------------------------------------------------------------------------- check and plan

function checkSoon() {
  clearTimeout(checkTimer);
  clearTimeout(planTimer);
  checkTimer = setTimeout(check, 200);
}

async function check() {
  const number = ++checkNumber,
    text = doc.text;
  try {
    const answer = await api('POST', '/api/check', {story: text});
    if (number !== checkNumber) return;
    verdict = answer.ok ? answer : {...answer, message: answer.message[0].toUpperCase() + answer.message.slice(1)};
  } catch (error) {
    if (number !== checkNumber) return;
    verdict = {ok: false, line: 0, key: '', message: error.message};
  }
  plan = null;
  mark();
  if (verdict.ok) planTimer = setTimeout(makePlan, 700);
}

// What a dry run says: only while nothing is drawn, which it would slow down.
async function makePlan() {
  const number = checkNumber;
  if (drawing || location.hash.startsWith('#comic')) return;
  try {
    const lines = await api('POST', '/api/plan', {story: doc.text});
    if (number !== checkNumber) return;
    const error = lines.find(l => l.event === 'failed');
    if (error)
      verdict = {ok: false, line: 0, key: (error.text.match(/`(\w+)`/) || [])[1] || '', message: plain(error.text)};
    else plan = lines;
    mark();
  } catch {
    /* the check has said what can be said */
  }
}

const plain = text => text.replace(/`(\w+)`/g, '$1');

function duration(seconds) {
  if (seconds < 90) return Math.max(1, Math.round(seconds)) + ' s';
  if (seconds < 5400) return Math.round(seconds / 60) + ' min';
  return (seconds / 3600).toFixed(1) + ' h';
}
const megabytes = bytes =>
  bytes > 1e9 ? (bytes / 1e9).toFixed(1) + ' GB' : Math.max(1, Math.round(bytes / 1e6)) + ' MB';

// Shows the verdict: at its line, at its setting, and beside the button.
function mark() {
  const untouched = doc.text === BLANK; // nobody has done anything wrong yet
  const wrong = verdict && !verdict.ok && !untouched ? verdict : null;
  document.querySelectorAll('.wrong').forEach(e => e.classList.remove('wrong'));
  document.querySelectorAll('#cards .error').forEach(e => e.remove());
  for (const f of Object.values(fields)) ((f.about.textContent = f.hint), f.about.classList.remove('error'));
  $('script-error').textContent = wrong ? (wrong.line ? 'Line ' + wrong.line + ': ' : '') + wrong.message : '';
  $('script').setAttribute('aria-invalid', String(!!wrong));
  gutter();
  const line = wrong && wrong.line ? doc.lines[wrong.line - 1] : null;
  const key = wrong ? (line && line.kind === 'setting' ? line.key : wrong.key) : '';
  if (key && fields[key]) {
    fields[key].box.classList.add('wrong');
    fields[key].about.textContent = wrong.message;
    fields[key].about.classList.add('error');
    const fold = fields[key].box.closest('#folded details');
    if (fold) fold.open = true;
  }
  const place = wrong && wrong.line ? $('line-' + (wrong.line - 1)) : null;
  if (place) {
    place.classList.add('wrong');
    place.append(h('p', {className: 'error', role: 'status'}, wrong.message));
  }
  document.querySelectorAll('#panels .panel').forEach((card, i) => {
    const p = verdict && verdict.ok ? verdict.panels[i] : null;
    if (!p) return;
    const dry = plan && plan.find(l => l.event === 'plan' && l.panel === i + 1);
    card.querySelector('.role').textContent =
      (p.role === 'id'
        ? 'Defines ' + p.characters.join(', ')
        : p.characters.length
          ? 'Looks at the panels that define ' + p.characters.join(', ')
          : 'Nobody in it') +
      (dry ? ' · ' + dry.tokens + ' tokens' + (dry.cut ? ', ' + dry.cut + ' cut off' : '') : '');
    const caption = card.querySelector('.caption');
    if (doc.lines[+card.id.slice(5)] && doc.lines[+card.id.slice(5)].caption === null)
      caption.placeholder = p.caption || 'Caption';
  });
  const panels = of('panel').length,
    cost = plan && plan.find(l => l.event === 'cost');
  $('verdict').className = wrong ? 'error' : '';
  $('verdict').textContent = wrong
    ? (place || key ? '' : wrong.line ? 'Line ' + wrong.line + ': ' : '') + wrong.message
    : untouched
      ? 'Say how your hero looks, and what happens in the first panel.'
      : !verdict
        ? ''
        : panels +
          (panels === 1 ? ' panel' : ' panels') +
          (cost
            ? ', ' +
              cost.width +
              ' × ' +
              cost.height +
              ' px · about ' +
              duration(cost.seconds) +
              ' · ' +
              megabytes(cost.memory + cost.weights) +
              ' of memory'
            : '') +
          (verdict.notices ? ' · ' + verdict.notices.split('\n')[0] : '');
  $('show-plan').hidden = !plan;
  $('draw').disabled = !!wrong || !verdict || untouched;
}

function showPlan() {
  const cost = plan.find(l => l.event === 'cost'),
    notes = plan.filter(l => l.event === 'notice');
  const entry = (name, value) => [h('dt', {}, name), h('dd', {}, value)];
  $('plan').replaceChildren(
    h(
      'div',
      {className: 'plan'},
      h(
        'dl',
        {},
        ...entry('Time', 'about ' + duration(cost.seconds)),
        ...entry(
          'Memory',
          megabytes(cost.memory) +
            ' to sample, ' +
            megabytes(cost.memory_decode) +
            ' to decode, ' +
            megabytes(cost.weights) +
            ' of weights',
        ),
        ...entry(
          'Model',
          cost.model + ', ' + cost.steps + ' steps of ' + cost.sampler + ', guidance ' + cost.guidance_scale,
        ),
        ...entry('Not in it', cost.negative_prompt || '(nothing)'),
        ...notes.flatMap(n => entry('Note', plain(n.text))),
      ),
      h(
        'ol',
        {},
        ...plan
          .filter(l => l.event === 'plan')
          .map(p =>
            h(
              'li',
              {},
              h('b', {}, 'Panel ' + p.panel),
              ' (' +
                (p.role === 'id' ? 'defines ' : 'shows ') +
                (p.characters.join(', ') || 'nobody') +
                ', ' +
                p.tokens +
                ' tokens' +
                (p.cut ? ', ' + p.cut + ' cut off' : '') +
                ')',
              h('br'),
              p.prompt,
              h('br'),
              h('i', {}, p.caption),
            ),
          ),
      ),
    ),
  );
  $('dialog-plan').showModal();
  $('dialog-plan').scrollTop = 0; // the focus is on the button at its end
}

function gutter() {
  const bad = verdict && !verdict.ok && doc.text !== BLANK ? verdict.line : 0,
    count = doc.lines.length;
  $('gutter').replaceChildren(
    ...Array.from({length: Math.min(count, 3000)}, (_, i) =>
      h('div', {className: i + 1 === bad ? 'bad' : ''}, String(i + 1)),
    ),
  );
  $('gutter').scrollTop = $('script').scrollTop;
}

function setMode(text) {
  $('cards').hidden = text;
  $('text').hidden = !text;
  $('mode-cards').setAttribute('aria-pressed', String(!text));
  $('mode-text').setAttribute('aria-pressed', String(text));
  if (!text) showCards();
}

async function drawComic() {
  $('draw').disabled = true;
  try {
    const made = await api('POST', '/api/comics', {story: doc.text});
    location.hash = '#comic/' + made.id;
  } catch (error) {
    failed(error);
  }
  $('draw').disabled = false;
}

// ---------------------------------------------------------------------------------------------------------- library

const states = {
  draft: 'not drawn yet',
  queued: 'queued',
  drawing: 'being drawn',
  stopped: 'stopped',
  finished: 'finished',
  failed: 'failed',
};
const when = ms => new Date(ms).toLocaleString([], {dateStyle: 'medium', timeStyle: 'short'});
const nameOf = c => c.title || 'Untitled comic';
const file = (id, kind, number, time, more) =>
  '/api/comics/' + id + '/' + kind + (number ? '/' + number : '') + '?' + (time ? 'v=' + time : '') + (more || '');

async function copyOf(id) {
  try {
    const c = await api('GET', '/api/comics/' + id);
    location.hash = '#write';
    loadStory(c.story, 'A copy is in the editor.');
  } catch (error) {
    failed(error);
  }
}

function askDelete(c, then) {
  const dialog = $('dialog-delete');
  $('delete-name').textContent = '“' + nameOf(c) + '”, ' + when(c.created);
  dialog.returnValue = '';
  dialog.onclose = async () => {
    if (dialog.returnValue !== 'yes') return;
    try {
      await api('DELETE', '/api/comics/' + c.id);
      then();
    } catch (error) {
      failed(error);
    }
  };
  dialog.showModal();
}

let shownLibrary = '';
function showLibrary(comics) {
  $('comics-empty').hidden = comics.length > 0;
  const key = JSON.stringify(comics);
  if (key === shownLibrary) return;
  shownLibrary = key;
  $('comics').replaceChildren(
    ...comics.map(c =>
      h(
        'li',
        {},
        h(
          'a',
          {className: 'picture', href: '#comic/' + c.id, tabIndex: -1, 'aria-hidden': 'true'},
          c.thumb
            ? h('img', {src: file(c.id, 'panel', 1, c.thumb), alt: '', loading: 'lazy'})
            : h(
                'span',
                {},
                c.progress && c.progress.steps
                  ? Math.round((100 * c.progress.step) / c.progress.steps) + ' %'
                  : states[c.state],
              ),
        ),
        h(
          'div',
          {className: 'about'},
          h('a', {href: '#comic/' + c.id}, nameOf(c)),
          h('p', {className: 'hint'}, states[c.state] + ' · ' + when(c.created)),
        ),
        h(
          'div',
          {className: 'row'},
          h(
            'button',
            {type: 'button', className: 'small', onclick: () => copyOf(c.id), 'aria-label': 'Duplicate ' + nameOf(c)},
            'Duplicate',
          ),
          c.state === 'drawing' || c.state === 'queued'
            ? null
            : h(
                'button',
                {
                  type: 'button',
                  className: 'small',
                  onclick: () => askDelete(c, poll),
                  'aria-label': 'Delete ' + nameOf(c),
                },
                'Delete…',
              ),
        ),
      ),
    ),
  );
}

// -------------------------------------------------------------------------------------------------------- one comic

let comic = null,
  shownComic = '',
  captions = {}; // captions: line index -> what is typed and not laid out yet

function panelsOf(story) {
  return parse(story)
    .map((l, index) => ({...l, index}))
    .filter(l => l.kind === 'panel');
}

function showProgress(c) {
  const p = c.progress;
  $('progress').hidden = !(c.state === 'drawing' || c.state === 'queued');
  const part = p && p.steps ? (100 * p.step) / p.steps : 0;
  $('fill').style.width = part + '%';
  $('track').setAttribute('aria-valuenow', Math.round(part));
  const which = p && p.drawing.length ? (p.drawing.length > 1 ? ', panels ' : ', panel ') + p.drawing.join(', ') : '';
  $('progress-text').textContent =
    c.state === 'queued'
      ? c.queued_before
        ? 'Waiting: ' + c.queued_before + ' before it'
        : 'About to start'
      : !p || p.phase === 'starting'
        ? c.task === 'pages'
          ? 'Laying out the pages'
          : 'Reading the model and the text'
        : p.stopping
          ? 'Finishing step ' + (p.step + 1) + ', then stopping'
          : p.phase === 'picture'
            ? 'Making the pictures' + which
            : 'Step ' +
              Math.min(p.step + 1, p.steps) +
              ' of ' +
              p.steps +
              which +
              (p.seconds_left !== null ? ' · about ' + duration(p.seconds_left) + ' left' : '');
}

function showActions(c) {
  const button = (text, act, className) =>
    h('button', {type: 'button', className: className || '', onclick: act}, text);
  const post = (action, body) => async () => {
    try {
      await api('POST', '/api/comics/' + c.id + '/' + action, body || {});
      poll();
    } catch (error) {
      failed(error);
    }
  };
  const busy = c.state === 'drawing' || c.state === 'queued';
  $('comic-actions').replaceChildren(
    ...[
      busy ? button(c.progress && c.progress.stopping ? 'Stop at once' : 'Stop', post('stop'), 'primary') : null,
      c.state === 'stopped' ? button('Go on', post('resume'), 'primary') : null,
      c.state === 'draft' || c.state === 'failed' ? button('Draw', post('draw'), 'primary') : null,
      button('Edit as a new comic', () => copyOf(c.id)),
      !busy
        ? button('Delete…', () =>
            askDelete(c, () => {
              location.hash = '#comics';
            }),
          )
        : null,
    ].filter(Boolean),
  );
  const link = (text, kind, number, time, name) =>
    h('a', {className: 'button small', href: file(c.id, kind, number, time, '&download=1'), download: name}, text);
  $('downloads').replaceChildren(
    ...(c.pages.length
      ? [
          ...c.pages.map((t, i) =>
            link(c.pages.length > 1 ? 'PNG ' + (i + 1) : 'PNG', 'page', i + 1, t, c.id + '-page-' + (i + 1) + '.png'),
          ),
          c.pdf ? link('PDF', 'pdf', 0, c.pdf, c.id + '.pdf') : null,
          c.cbz ? link('CBZ', 'cbz', 0, c.cbz, c.id + '.cbz') : null,
        ].filter(Boolean)
      : []),
    link('Story', 'story', 0, 0, c.id + '.story'),
  );
}

// A preview is a sheet of all panels, row by row; a panel shows its part of it.
function sheet(c, i) {
  const p = c.progress,
    s = h('div', {className: 'sheet', role: 'img', 'aria-label': 'Preview of panel ' + (i + 1)});
  s.style.backgroundImage = 'url("' + file(c.id, 'preview', 0, c.preview) + '")';
  s.style.backgroundSize = 100 * p.columns + '% ' + 100 * p.rows + '%';
  const at = (n, of) => (of > 1 ? (100 * n) / (of - 1) + '%' : '0%');
  s.style.backgroundPosition = at(i % p.columns, p.columns) + ' ' + at(Math.floor(i / p.columns), p.rows);
  return s;
}

function wantedPanels(c, count) {
  if (!c.only) return null;
  const set = new Set();
  for (const part of c.only.split(',')) {
    const [a, b] = part.split('-').map(Number);
    for (let i = a; i <= Math.min(b || a, count); i++) set.add(i - 1);
  }
  return set;
}

function showDrawn(c) {
  const list = panelsOf(c.story),
    busy = c.state === 'drawing' || c.state === 'queued',
    wanted = wantedPanels(c, list.length);
  const started = c.progress && c.progress.previews > 0 && c.task !== 'pages';
  while ($('drawn').children.length > list.length) $('drawn').lastChild.remove();
  list.forEach((p, i) => {
    let item = $('drawn').children[i];
    if (!item) {
      item = h(
        'li',
        {},
        h('div', {className: 'shot'}),
        h(
          'div',
          {className: 'words'},
          h('p', {className: 'said'}),
          h('textarea', {
            rows: 1,
            'aria-label': 'Caption of panel ' + (i + 1),
            onkeydown: noBreak,
            oninput: e => {
              captions[i] = oneLine(e.target.value);
              showChanged();
            },
          }),
          h('button', {type: 'button', className: 'small', onclick: () => askRedraw(i)}, 'Redraw…'),
        ),
      );
      $('drawn').append(item);
    }
    const [shot, body] = item.children,
      [said, field, again] = body.children,
      time = c.panels[i] || 0;
    const now = c.state === 'drawing' && c.progress && c.progress.drawing.includes(i + 1) && c.task !== 'pages';
    const live = started && (!wanted || wanted.has(i)) && !(time > c.preview);
    const key = live ? 'live ' + c.preview : time ? 'file ' + time : busy ? 'wait' : 'none';
    item.classList.toggle('active', !!now);
    said.textContent = p.text.trim();
    if (document.activeElement !== field)
      field.value = i in captions ? captions[i] : p.caption === null ? '' : p.caption;
    field.placeholder = p.caption === null ? 'Caption: from the text' : 'No caption';
    field.disabled = again.disabled = busy;
    again.hidden = field.hidden = !time && !busy && c.state !== 'stopped';
    again.disabled = busy || !time;
    again.setAttribute('aria-label', 'Redraw panel ' + (i + 1));
    if (shot.dataset.key === key) return;
    shot.dataset.key = key;
    const badge = h('span', {className: 'badge', 'aria-hidden': 'true'}, String(i + 1));
    if (live) {
      const fresh = sheet(c, i),
        image = new Image();
      image.onload = () => {
        if (shot.dataset.key === key) shot.replaceChildren(badge, fresh);
      };
      image.src = file(c.id, 'preview', 0, c.preview);
      image.onload &&
        image.addEventListener('load', () => {
          shot.style.setProperty('--ratio', image.width / c.progress.columns / (image.height / c.progress.rows));
        });
    } else if (time) {
      const image = h('img', {src: file(c.id, 'panel', i + 1, time), alt: p.text.replace(/[[\]]/g, '').trim()});
      image.onload = () => shot.style.setProperty('--ratio', image.naturalWidth / image.naturalHeight);
      shot.replaceChildren(
        badge,
        h(
          'button',
          {
            type: 'button',
            className: 'picture-button',
            'aria-label': 'Panel ' + (i + 1) + ', large',
            onclick: () => showLarge('panel', i),
          },
          image,
        ),
      );
    } else shot.replaceChildren(badge, h('span', {}, busy ? 'soon' : ''));
  });
}

function showPages(c) {
  $('pages-part').hidden = !c.pages.length;
  document.querySelector('.comic-body').classList.toggle('alone', !c.pages.length);
  const key = c.id + c.pages.join();
  if ($('pages').dataset.key === key) return;
  $('pages').dataset.key = key;
  $('pages').replaceChildren(
    ...c.pages.map((t, i) =>
      h(
        'button',
        {type: 'button', 'aria-label': 'Page ' + (i + 1) + ', large', onclick: () => showLarge('page', i)},
        h('img', {src: file(c.id, 'page', i + 1, t), alt: 'Page ' + (i + 1)}),
      ),
    ),
  );
}

function showChanged() {
  const list = panelsOf(comic.story);
  for (const i of Object.keys(captions)) if (!list[i] || captions[i] === (list[i].caption || '')) delete captions[i];
  $('changed').hidden = !Object.keys(captions).length || !comic.pages.length;
}

// What the run says that a person should know; it stays until another comic is looked at.
function showNotes(c, first) {
  if (first) $('notes').replaceChildren();
  if (c.notices) $('notes').replaceChildren(...c.notices.split('\n').map(note => h('li', {}, note)));
  $('fold-notes').hidden = !$('notes').children.length;
}

function showComic(c) {
  const first = !comic || comic.id !== c.id;
  if (first) {
    captions = {};
    $('drawn').replaceChildren();
    $('fold-log').open = $('fold-recipe').open = false;
  }
  comic = c;
  showNotes(c, first);
  document.title = nameOf(c) + ' · storydiff studio';
  showProgress(c);
  showPages(c);
  showDrawn(c);
  const key = [c.id, c.state, c.title, c.pages, c.pdf, c.cbz, c.progress && c.progress.stopping, c.message].join('|');
  if (key === shownComic) return;
  shownComic = key;
  $('comic-title').textContent = nameOf(c);
  $('comic-state').textContent = states[c.state][0].toUpperCase() + states[c.state].slice(1) + ' · ' + when(c.created);
  $('comic-message').hidden = !c.message;
  $('comic-message').textContent = (c.state === 'stopped' ? 'Stopped: ' : '') + c.message;
  $('comic-message').classList.toggle('error', c.state === 'failed');
  $('comic-story').textContent = c.story;
  $('fold-recipe').hidden = !c.panels.length;
  showActions(c);
  showChanged();
  loadFolds();
}

async function loadFolds() {
  try {
    if ($('fold-log').open)
      $('log').textContent = (await api('GET', '/api/comics/' + comic.id + '/log')) || '(nothing yet)';
    if ($('fold-recipe').open)
      $('recipe').textContent = JSON.stringify(
        await api('GET', '/api/comics/' + comic.id + '/panel/1?recipe=1'),
        null,
        2,
      );
  } catch (error) {
    failed(error);
  }
}

async function layOut() {
  const lines = parse(comic.story),
    list = panelsOf(comic.story);
  for (const [i, caption] of Object.entries(captions))
    lines[list[i].index].raw = panelLine(list[i].text, oneLine(caption));
  try {
    await api('PUT', '/api/comics/' + comic.id, {story: join(lines)});
    captions = {};
    await api('POST', '/api/comics/' + comic.id + '/pages', {});
    poll();
  } catch (error) {
    failed(error);
  }
}

let redrawing = 0;
function askRedraw(i) {
  const p = panelsOf(comic.story)[i];
  redrawing = i;
  $('redraw-title').textContent = 'Redraw panel ' + (i + 1);
  $('redraw-text').value = p.text.trim();
  $('redraw-seed').value = dice();
  $('redraw-error').textContent = '';
  $('dialog-redraw').showModal();
}

async function redraw() {
  const lines = parse(comic.story),
    p = panelsOf(comic.story)[redrawing],
    text = oneLine($('redraw-text').value);
  const caption = redrawing in captions ? captions[redrawing] : p.caption;
  $('redraw-error').textContent = '';
  try {
    if (text !== p.text.trim() || caption !== p.caption) {
      lines[p.index].raw = panelLine(text, caption);
      const answer = await api('POST', '/api/check', {story: join(lines)});
      if (!answer.ok) throw new Error(answer.message);
      await api('PUT', '/api/comics/' + comic.id, {story: join(lines)});
    }
    const body = {panel: redrawing + 1};
    if ($('redraw-seed').value.trim()) body.seed = $('redraw-seed').value.trim();
    await api('POST', '/api/comics/' + comic.id + '/redraw', body);
    $('dialog-redraw').close();
    poll();
  } catch (error) {
    $('redraw-error').textContent = error.message;
  }
}

let large = {kind: 'page', at: 0};
function showLarge(kind, at) {
  const times = kind === 'page' ? comic.pages : comic.panels;
  large = {kind, at: (at + times.length) % times.length};
  const p = panelsOf(comic.story)[large.at],
    number = large.at + 1;
  $('large-image').src = file(comic.id, kind, number, times[large.at]);
  $('large-image').alt = (kind === 'page' ? 'Page ' : 'Panel ') + number;
  $('large-captions').hidden = kind === 'page';
  $('large-caption').textContent =
    kind === 'panel' && p ? (p.caption === null ? p.text.replace(/[[\]]/g, '').trim() : p.caption) : '';
  $('large-before').hidden = $('large-after').hidden = times.length < 2;
  if (!$('dialog-large').open) $('dialog-large').showModal();
}

// ------------------------------------------------------------------------------------------------- views and polling

let drawing = '',
  pollTimer,
  pollNumber = 0;

function view() {
  return location.hash.startsWith('#comic/') ? 'comic' : location.hash === '#comics' ? 'comics' : 'write';
}

async function poll() {
  clearTimeout(pollTimer);
  const number = ++pollNumber,
    now = view(),
    id = location.hash.slice(7);
  let pause = 3000;
  try {
    if (now === 'comic') {
      const c = await api('GET', '/api/comics/' + id);
      if (number !== pollNumber) return;
      showComic(c);
      if (c.state === 'drawing' || c.state === 'queued') pause = 400;
    }
    const all = await api('GET', '/api/comics');
    if (number !== pollNumber) return;
    if (now === 'comics') {
      showLibrary(all.comics);
      if (all.drawing) pause = 1000;
    }
    const was = drawing,
      current = all.comics.find(c => c.id === all.drawing);
    drawing = all.drawing;
    $('nav-count').hidden = !all.comics.length;
    $('nav-count').textContent = all.comics.length;
    $('now').hidden = !current || (now === 'comic' && current.id === id);
    if (current) {
      $('now').href = '#comic/' + current.id;
      $('now-text').textContent =
        nameOf(current) +
        (current.progress && current.progress.steps
          ? ' · ' + Math.round((100 * current.progress.step) / current.progress.steps) + ' %'
          : '');
    }
    if (was && !drawing && now === 'write' && verdict && verdict.ok && !plan) makePlan();
  } catch (error) {
    if (number !== pollNumber) return;
    if (now === 'comic' && /no such comic/.test(error.message)) {
      location.hash = '#comics';
      toast('This comic is not there any more.');
      return;
    }
    failed(error);
    pause = 4000;
  }
  if (!document.hidden) pollTimer = setTimeout(poll, pause);
}

function show() {
  const now = view();
  if (now !== 'write') $('toast').replaceChildren();
  for (const name of ['write', 'comics', 'comic']) $('view-' + name).hidden = name !== now;
  $('nav-write').toggleAttribute('aria-current', now === 'write');
  $('nav-comics').toggleAttribute('aria-current', now !== 'write');
  document.title = now === 'comics' ? 'Comics · storydiff studio' : 'storydiff studio';
  shownComic = shownLibrary = '';
  if (now === 'comic' && comic && comic.id !== location.hash.slice(7)) {
    $('drawn').replaceChildren();
    $('pages').replaceChildren();
    $('pages').dataset.key = '';
    $('comic-title').textContent = '';
  }
  scrollTo(0, 0);
  poll();
}

function loadStory(text, say) {
  const before = doc.text;
  setText(text.replace(/\r\n/g, '\n').replace(/\n+$/, '\n'), '');
  toast(say, before.trim() && before !== text ? () => setText(before, '') : null);
}

async function loadFile(f) {
  try {
    const answer = await api('POST', '/api/read', new Blob([f], {type: 'application/octet-stream'}));
    location.hash = '#write';
    loadStory(answer.story, f.name + ' is loaded.');
  } catch (error) {
    failed(error);
  }
}

function listen() {
  addEventListener('hashchange', show);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) poll();
  });
  $('script').addEventListener('input', e => setText(e.target.value, 'text'));
  $('script').addEventListener('scroll', () => {
    $('gutter').scrollTop = $('script').scrollTop;
  });
  $('title').addEventListener('input', e => setSetting('title', e.target.value));
  $('mode-cards').onclick = () => setMode(false);
  $('mode-text').onclick = () => setMode(true);
  $('add-character').onclick = () => {
    insertAfter('character', '[] ');
    const names = $('characters').querySelectorAll('.name');
    names[names.length - 1].focus();
  };
  $('blank').onclick = () => loadStory(BLANK, 'A blank story.');
  $('file').addEventListener('change', e => {
    if (e.target.files[0]) loadFile(e.target.files[0]);
    e.target.value = '';
  });
  $('draw').onclick = drawComic;
  $('show-plan').onclick = showPlan;
  $('lay-out').onclick = layOut;
  $('revert').onclick = () => {
    captions = {};
    showChanged();
    showDrawn(comic);
  };
  $('redraw-dice').onclick = () => {
    $('redraw-seed').value = dice();
  };
  $('redraw-go').onclick = redraw;
  $('large-captions').onclick = e => {
    const on = $('large-caption').hidden;
    $('large-caption').hidden = !on;
    e.target.setAttribute('aria-pressed', String(on));
  };
  $('large-before').onclick = () => showLarge(large.kind, large.at - 1);
  $('large-after').onclick = () => showLarge(large.kind, large.at + 1);
  $('dialog-large').addEventListener('keydown', e => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[e.key];
    if (by) showLarge(large.kind, large.at + by);
  });
  $('dialog-large').addEventListener('click', e => {
    if (e.target === $('dialog-large')) e.target.close();
  });
  for (const id of ['fold-log', 'fold-recipe']) $(id).addEventListener('toggle', loadFolds);
  const files = e => e.dataTransfer && [...e.dataTransfer.types].includes('Files');
  addEventListener('dragover', e => {
    if (files(e)) {
      e.preventDefault();
      $('drop').hidden = false;
    }
  });
  addEventListener('dragleave', e => {
    if (!e.relatedTarget) $('drop').hidden = true;
  });
  addEventListener('drop', e => {
    if (files(e)) {
      e.preventDefault();
      $('drop').hidden = true;
      loadFile(e.dataTransfer.files[0]);
    }
  });
}

async function start() {
  let story = '';
  try {
    story = localStorage.getItem('story') || '';
  } catch {
    /* none */
  }
  listen();
  show();
  try {
    [info, {characters: cast = []}] = await Promise.all([api('GET', '/api/studio'), api('GET', '/api/cast')]);
    if (!Array.isArray(cast)) cast = [];
    $('examples').replaceChildren(
      ...info.examples.map(text =>
        h(
          'button',
          {type: 'button', className: 'chip', onclick: () => loadStory(text, 'An example is loaded.')},
          (text.match(/^title:\s*(.*)$/m) || [])[1] || 'Example',
        ),
      ),
    );
    makeSettings();
  } catch (error) {
    failed(error);
  }
  setText(story || (info && info.examples[0]) || BLANK, ''); // at first, something that can be drawn at once
}
start();
