"Bundles on the hub, without the hub: a cache made by hand, a server of this test's own, and what goes wrong"
import base64, hashlib, json, os, re, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSStandardize
import tsfast.deploy # noqa: gives learners save_bundle
from tsfast.estimator_ensembles import TSEnsembleClassifier
from tsfast.estimator_forests import TSForestClassifier
from tsfast.hub_files import hub_name, is_hub_name
from tsfast.inference import load_bundle
from tsfast.learner import ts_learner
from tsfast.publish import push_bundle, write_model_card

root = Path(__file__).resolve().parents[1]
rng = np.random.default_rng(0)
X = rng.normal(size=(24, 2, 16)).astype(np.float32)
COMMIT = '0123456789abcdef0123456789abcdef01234567'

@pytest.fixture(scope='module')
def learn():
    dls = get_ts_dls(X, np.array(['a', 'b'])[np.arange(24) % 2], splits=(range(12), range(12, 24)), batch_tfms=TSStandardize(), bs=6)
    return ts_learner(dls, 'FCN', layers=[8, 8], kss=[5, 3], seed=0)

@pytest.fixture(scope='module')
def bundle(learn, tmp_path_factory): return learn.save_bundle(tmp_path_factory.mktemp('hub')/'b')


def test_names():
    assert hub_name('hf://o/n@main') == ('o/n', 'main') and hub_name('hf://o/n').revision is None and hub_name(f'hf://o/n@{COMMIT}').pinned
    assert hub_name(Path('hf://o/n')) == ('o/n', None) and is_hub_name(Path('hf://o/n')) and not is_hub_name('hf')
    for o in ('hf://n', 'hf://o/n/m', 'hf://../n', 'hf://o/..', 'hf://o/n@', 'hf://o/n@a b', 'hf://o/n@x/..', 'hf://o/n@a@b'):
        with pytest.raises(ValueError, match='no name on the hub'): load_bundle(o)

def test_card(bundle, learn, tmp_path):
    card = write_model_card(bundle, 'owner/waves', license='mit', about='From a test.').read_text(encoding='utf-8')
    head, text = card.split('---\n')[1:3]
    import yaml
    assert yaml.safe_load(head) == dict(library_name='tsfast', license='mit', tags=['tsfast', 'time-series', 'time-series-classification', 'FCN'])
    for o in ('# owner/waves', 'From a test.', '2 classes: `a`, `b`', '| channels | 2 |', '`[8, 8]`', 'hf://owner/waves@REVISION', json.loads((bundle/'config.json').read_text())['weights']['sha256']):
        assert o in text, o
    load_bundle(bundle)
    learn.save_bundle(bundle)
    assert not (bundle/'README.md').exists()
    (tmp_path/'README.md').write_text('mine')
    with pytest.raises(FileExistsError): learn.save_bundle(tmp_path)
    encoder = learn.save_bundle(tmp_path/'e', encoder_only=True)
    assert 'embeddings of 8 numbers' in write_model_card(encoder).read_text()

def test_cards_of_other_bundles(tmp_path):
    y = np.arange(24) % 2
    forest = TSForestClassifier(5, random_state=0).fit(X, y)
    assert 'QuantForest' in write_model_card(forest.save_bundle(tmp_path/'f')).read_text()

def test_names_cannot_write_markup(bundle):
    from tsfast.publish import model_card
    cfg = json.loads((bundle/'config.json').read_text())
    cfg['target']['classes'] = ['a`b\n# title', '<script>']
    card = model_card(cfg, 'x', license='mit\nlibrary_name: other')
    assert '\n# title' not in card and '<script>' not in card and card.count('library_name') == 2 and '\nlibrary_name: other' not in card


# a cache, made by hand as huggingface_hub documents it

def cached(bundle, home, repo='owner/waves', commit=COMMIT, files=None):
    "blobs/, snapshots/COMMIT/ with links to them, refs/main"
    base = home/'hub'/f"models--{repo.replace('/', '--')}"
    for o in ('blobs', f'snapshots/{commit}', 'refs'): (base/o).mkdir(parents=True, exist_ok=True)
    for f in files or ['config.json', 'model.safetensors']:
        data = (bundle/f).read_bytes()
        blob, link = base/'blobs'/hashlib.sha256(data).hexdigest(), base/'snapshots'/commit/f
        blob.write_bytes(data)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (base/'refs/main').write_text(commit)
    return base

def fresh(code, home, **env):
    "A fresh process with this cache"
    env = {k: v for k, v in os.environ.items() if not k.startswith(('HF_', 'HUGGING'))} | dict(HF_HOME=str(home), HF_HUB_DISABLE_TELEMETRY='1', PYTHONPATH=str(root), NO_PROXY='*', **env)
    return subprocess.run([sys.executable, '-W', 'error::UserWarning:tsfast', '-c', code], cwd=root, env=env, capture_output=True, text=True)

SAYS = """
import warnings, sys
from tsfast.inference import load_bundle, Predictor
def says(f):
    "The type and the text of an error"
    try: f()
    except Exception as e: return f'{type(e).__name__}: {isinstance(e, OSError)}: {e}'
    return 'nothing'
"""

def test_offline_with_a_cache(bundle, learn, tmp_path):
    "HF_HUB_OFFLINE=1: what is in the cache is read through its links, and what is not says what to do"
    base = cached(bundle, tmp_path)
    strange = cached(bundle, tmp_path, 'owner/strange')
    link = strange/f'snapshots/{COMMIT}/model.safetensors'
    link.unlink(); link.symlink_to(bundle/'model.safetensors')      # out of the cache
    damaged = cached(bundle, tmp_path, 'owner/damaged')
    blob = (damaged/f'snapshots/{COMMIT}/model.safetensors').resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b'x')
    np.save(tmp_path/'X.npy', X)
    code = SAYS + f"""
import numpy as np
with warnings.catch_warnings(record=True) as w:
    warnings.simplefilter('always')
    p = load_bundle('hf://owner/waves')
assert len(w) == 1 and 'hf://owner/waves@{COMMIT}' in str(w[0].message) and 'pin' in str(w[0].message), w
assert p.source == 'hf://owner/waves@{COMMIT}'
with warnings.catch_warnings():
    warnings.simplefilter('error')
    q = Predictor('hf://owner/waves@{COMMIT}')
assert not [o for o in sys.modules if o.split('.')[0] in ('fastai', 'fastcore')]
print(says(lambda: load_bundle('hf://owner/other')))
print(says(lambda: load_bundle('hf://owner/strange@{COMMIT}')))
print(says(lambda: load_bundle('hf://owner/damaged@{COMMIT}')))
print(says(lambda: load_bundle({str(base/'snapshots'/COMMIT)!r})))
np.save({str(tmp_path/'p.npy')!r}, q.predict_proba(np.load({str(tmp_path/'X.npy')!r})))
"""
    r = fresh(code, tmp_path, HF_HUB_OFFLINE='1')
    assert not r.returncode, r.stderr
    other, strange, damaged, snapshot = r.stdout.splitlines()
    assert other.startswith('ConnectionError: True') and 'HF_HUB_OFFLINE is set' in other and 'not in the cache' in other
    assert strange.startswith('ValueError') and 'leads out of' in strange
    assert damaged.startswith('ValueError') and 'checksum' in damaged
    assert snapshot.startswith('ValueError') and 'is a link' in snapshot       # a folder of links is refused as before
    np.testing.assert_allclose(np.load(tmp_path/'p.npy'), learn.get_X_preds(X)[0].numpy(), atol=1e-6)

def test_offline_learner(bundle, tmp_path):
    "A new learner from a name on the hub, which its own bundle names"
    cached(bundle, tmp_path)
    code = f"""
import numpy as np
from tsfast.data.core import get_ts_dls
from tsfast.learner import ts_learner
import tsfast.deploy
dls = get_ts_dls(np.random.default_rng(0).normal(size=(24, 2, 20)).astype('float32'), np.arange(24) % 3, splits=(range(12), range(12, 24)), bs=6)
learn = ts_learner(dls, pretrained='hf://owner/waves@{COMMIT}')
with learn.no_bar(), learn.no_logging(): learn.fine_tune(1)
from tsfast.inference import load_bundle
assert load_bundle(learn.save_bundle({str(tmp_path/'b')!r})).config['training']['pretrained'] == 'hf://owner/waves@{COMMIT}'
"""
    r = fresh(code, tmp_path, HF_HUB_OFFLINE='1')
    assert not r.returncode, r.stderr

def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(ImportError, match=r'pip install "tsfast-learn\[hub\]"'): load_bundle('hf://owner/waves')


# a server that plays the hub

class Hub(BaseHTTPRequestHandler):
    "What the client asks for while it downloads and uploads"
    def log_message(self, *args): pass

    def _send(self, status=200, body=b'', **headers):
        self.send_response(status)
        for k, v in (dict(Content_Length=len(body)) | headers).items(): self.send_header(k.replace('_', '-'), str(v))
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(body)

    def _json(self, o, status=200, **headers): self._send(status, json.dumps(o).encode(), Content_Type='application/json', **headers)
    def _missing(self, code): self._send(404, X_Error_Code=code, X_Error_Message=code)

    def do_GET(self):
        store = self.server
        store.asked.append((self.command, self.path))
        m = re.fullmatch(r'/([\w.-]+/[\w.-]+)/resolve/([\w.%-]+)/([\w./-]+)', self.path.partition('?')[0])
        if not m: return self._missing('RepoNotFound')
        repo, revision, file = m.groups()
        if repo not in store.repos: return self._missing('RepoNotFound')
        commit = store.refs[repo].get(revision, revision)
        if commit not in store.repos[repo]: return self._missing('RevisionNotFound')
        data = store.repos[repo][commit].get(file)
        if data is None: return self._send(404, X_Error_Code='EntryNotFound', X_Repo_Commit=commit)
        self._send(200, data, ETag=f'"{hashlib.sha256(data).hexdigest()}"', X_Repo_Commit=commit)
    do_HEAD = do_GET

    def do_POST(self):
        store, body = self.server, self.rfile.read(int(self.headers.get('Content-Length') or 0)) if 'Content-Length' in self.headers else self._chunks()
        store.asked.append((self.command, self.path))
        if self.path == '/api/repos/create':
            o = json.loads(body)
            store.created.append(o)
            repo = f"{o['organization']}/{o['name']}" if o.get('organization') else o['name']
            store.repos.setdefault(repo, {'0'*40: {}}); store.refs.setdefault(repo, dict(main='0'*40))
            return self._json(dict(url=f'{store.url}/{repo}', name=repo))
        if self.path == '/api/validate-yaml': return self._json(dict(errors=[], warnings=[]))
        m = re.match(r'/api/models/([\w.-]+/[\w.-]+)/(preupload|commit|branch)/([\w.-]+)', self.path)
        if not m: return self._missing('RepoNotFound')
        repo, what, revision = m.groups()
        if what == 'preupload': return self._json(dict(files=[dict(path=f['path'], uploadMode='regular', shouldIgnore=False) for f in json.loads(body)['files']]))
        if what == 'branch': store.refs[repo][revision] = store.refs[repo]['main']; return self._json({})
        files = dict(store.repos[repo][store.refs[repo][revision]])
        for line in body.decode().splitlines():
            o = json.loads(line)
            if o['key'] == 'file': files[o['value']['path']] = base64.b64decode(o['value']['content'])
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        store.repos[repo][commit] = files; store.refs[repo][revision] = commit
        self._json(dict(commitUrl=f'{store.url}/{repo}/commit/{commit}', commitOid=commit, success=True))

    def _chunks(self):
        out = b''
        while n := int(self.rfile.readline().strip() or b'0', 16): out += self.rfile.read(n); self.rfile.readline()
        self.rfile.readline()
        return out

@pytest.fixture
def hub():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    server.url, server.repos, server.refs, server.asked, server.created = f'http://127.0.0.1:{server.server_address[1]}', {}, {}, [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown(); server.server_close(); thread.join()

def test_download(hub, bundle, tmp_path):
    "From an endpoint: only the files of the bundle, the commit is kept, and errors say what to do"
    files = {f: (bundle/f).read_bytes() for f in ('config.json', 'model.safetensors')} | {'run.py': b'raise SystemExit', 'learner.pkl': b'no'}
    hub.repos |= {'owner/waves': {COMMIT: files}, 'owner/empty': {COMMIT: {}}, 'owner/half': {COMMIT: {'config.json': files['config.json']}}}
    hub.refs |= {k: dict(main=COMMIT, v1=COMMIT) for k in hub.repos}
    code = SAYS + """
assert load_bundle('hf://owner/waves@v1').source == 'hf://owner/waves@%s'
for o in ('owner/nothing@main', 'owner/waves@v2', 'owner/empty@main', 'owner/half@main'): print(says(lambda: load_bundle(f'hf://{o}')))
""" % COMMIT
    r = fresh(code, tmp_path, HF_ENDPOINT=hub.url)
    assert not r.returncode, r.stderr
    nothing, revision, empty, half = r.stdout.splitlines()
    assert nothing.startswith('FileNotFoundError: True') and 'no repository owner/nothing' in nothing and 'hf auth login' in nothing
    assert revision.startswith('FileNotFoundError: True') and "no revision 'v2'" in revision
    assert empty.startswith('FileNotFoundError: True') and 'no bundle' in empty and 'model.safetensors' in half
    asked = {p.rpartition('/')[2] for m, p in hub.asked}
    assert asked == {'config.json', 'model.safetensors'}
    # the network is gone: a pinned model is in the cache, another one is not
    code = SAYS + f"load_bundle('hf://owner/waves@{COMMIT}'); print(says(lambda: load_bundle('hf://owner/other@main')))"
    r = fresh(code, tmp_path, HF_ENDPOINT='http://127.0.0.1:9')
    assert not r.returncode, r.stderr
    assert r.stdout.startswith('ConnectionError: True') and 'could not be reached' in r.stdout and 'http://127.0.0.1:9' in r.stdout

def test_download_of_an_ensemble(hub, tmp_path):
    y = np.arange(24) % 2
    folder = TSEnsembleClassifier([('a', TSForestClassifier(5, random_state=0)), ('b', TSForestClassifier(5, random_state=1))]).fit(X, y).save_bundle(tmp_path/'e')
    files = {o.relative_to(folder).as_posix(): o.read_bytes() for o in folder.rglob('*') if o.is_file()}
    hub.repos['owner/two'] = {COMMIT: files | {'member-0-0/other.py': b''}}
    hub.refs['owner/two'] = dict(main=COMMIT)
    np.save(tmp_path/'X.npy', X)
    code = f"import numpy as np; from tsfast.inference import load_bundle; print(load_bundle('hf://owner/two@main').predict(np.load({str(tmp_path/'X.npy')!r})).tolist())"
    r = fresh(code, tmp_path, HF_ENDPOINT=hub.url)
    assert not r.returncode, r.stderr
    assert json.loads(r.stdout) == load_bundle(folder).predict(X).tolist() and not any('other.py' in p for _, p in hub.asked)

def test_upload(hub, bundle, tmp_path):
    "A bundle and its card, and nothing that lies beside them; what was pushed is read again, and a second push gives another commit"
    code = f"""
import numpy as np
from tsfast.data.core import get_ts_dls
from tsfast.learner import ts_learner
from tsfast.inference import load_bundle
from tsfast.publish import push_bundle
dls = get_ts_dls(np.random.default_rng(0).normal(size=(24, 2, 16)).astype('float32'), np.arange(24) % 2, splits=(range(12), range(12, 24)), bs=6)
learn = ts_learner(dls, 'FCN', layers=[8, 8], kss=[5, 3], seed=0)
name = learn.push_to_hub('owner/waves', private=True, license='mit')
assert load_bundle(name).source == name
encoder = learn.push_to_hub('owner/waves', branch='encoder', encoder_only=True)
assert load_bundle('hf://owner/waves@encoder').source == encoder != name and load_bundle(encoder).kind == 'embeddings'
print(name); print(push_bundle({str(bundle)!r}, 'owner/other'))
"""
    r = fresh(code, tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN='hf_of_a_test', HF_HUB_DISABLE_XET='1')
    assert not r.returncode, r.stderr
    name, other = r.stdout.splitlines()
    commit = name.partition('@')[2]
    assert hub.refs['owner/waves']['main'] == commit and set(hub.repos['owner/waves'][commit]) == {'config.json', 'model.safetensors', 'README.md'}
    assert hub.repos['owner/waves'][commit]['README.md'].startswith(b'---\nlibrary_name: tsfast\nlicense: "mit"')
    assert 'private' in (hub.created[0].get('visibility'), 'private'*bool(hub.created[0].get('private')))      # as older and newer clients say it
    assert hub.repos['owner/other'][other.partition('@')[2]]['config.json'] == (bundle/'config.json').read_bytes()

def test_upload_that_fails(bundle, tmp_path):
    code = SAYS + f"from tsfast.publish import push_bundle; print(says(lambda: push_bundle({str(bundle)!r}, 'owner/waves')))"
    r = fresh(code, tmp_path, HF_HUB_OFFLINE='1')
    assert not r.returncode, r.stderr
    assert r.stdout.startswith('ConnectionError: True') and 'hf auth login' in r.stdout
    with pytest.raises(ValueError, match="branch='main'"): push_bundle(bundle, 'owner/waves@main')
    with pytest.raises(FileNotFoundError): push_bundle(tmp_path/'nothing', 'owner/waves')
