"One model, trained by two real processes, which a launcher's variables connect: beside one process, and where something goes wrong"
import importlib.util, os, socket, subprocess, sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.callback.schedule import combined_cos
from tests import two_processes as one
from tests.two_processes import M, N

from tsfast.data.core import get_ts_dls
from tsfast.data.datasets import TSDatasets
from tsfast.learner import load_learner

root = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason='this torch has no torch.distributed')


def free_ports(n):
    "Ports that nobody uses at the moment: all are held before the first is given back"
    held = [socket.socket() for _ in range(n)]
    for s in held: s.bind(('127.0.0.1', 0))
    ports = [str(s.getsockname()[1]) for s in held]
    for s in held: s.close()
    return ports

def start(folder):
    "Two processes of one thread each, with what `torchrun` would set; they are ended after two minutes"
    ports = free_ports(5)
    env = {k: v for k, v in os.environ.items() if not k.startswith(('MASTER_', 'TORCHELASTIC_', 'ACCELERATE_'))}
    env |= dict(PYTHONPATH=str(root), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', OMP_NUM_THREADS='1', NUMBA_NUM_THREADS='1', MPLBACKEND='Agg')
    ps = [subprocess.Popen([sys.executable, '-m', 'tests.two_processes', folder, *ports], cwd=folder, text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, env={**env, 'RANK': str(r), 'LOCAL_RANK': str(r)}) for r in range(2)]
    try: return [(p, p.communicate(timeout=120)[0]) for p in ps]
    except subprocess.TimeoutExpired:
        for p in ps: p.kill()
        pytest.fail('the processes wait for each other: ' + ''.join(p.communicate()[0][-2000:] for p in ps))

@pytest.fixture(scope='module')
def two(tmp_path_factory):
    "What both processes have found"
    folder = tmp_path_factory.mktemp('two')
    ran = start(str(folder))
    if any('EADDRINUSE' in out for _, out in ran): ran = start(str(folder))      # somebody else took a port in between
    assert [p.returncode for p, _ in ran] == [0, 7], '\n'.join(out[-3000:] for _, out in ran)
    res = [torch.load(folder/f'{r}.pt', weights_only=False) for r in range(2)]
    res[0]['folder'], res[0]['output'] = folder, ran[0][1]
    return res

@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    "The same in this process, where nobody has started others"
    mp = pytest.MonkeyPatch()
    mp.setenv('TEST_FOLDER', str(tmp_path_factory.mktemp('alone')))
    yield one
    mp.undo()

def both(two, *keys):
    for o in two:
        for k in keys: o = o[k]
        yield o

def same_state(a, b, tol=0.):
    assert a.keys() == b.keys()
    for k in a: torch.testing.assert_close(a[k], b[k], rtol=tol, atol=tol, msg=lambda m: f'{k}: {m}')


@pytest.mark.parametrize('what', ['classes', 'numbers', 'training'])
def test_metrics_of_equal_weights(two, alone, what):
    "Losses and metrics are those of one process; those that are no mean over series, or look at the learner, too"
    want = alone.metrics_of_equal_weights()[what]
    for got in both(two, 'metrics_of_equal_weights', what): assert got == pytest.approx(want, rel=1e-5)

def test_predictions(two, alone):
    "All series once, in the order of the data, in both processes; after the block each is alone"
    want = alone.metrics_of_equal_weights()
    for got in both(two, 'metrics_of_equal_weights'):
        for k in ('preds', 'unseen', 'one'):
            for a, b in zip(got[k], want[k], strict=True):
                a, b = np.asarray(a), np.asarray(b)
                assert np.allclose(a, b, atol=1e-5) if b.dtype.kind == 'f' else np.array_equal(a, b), k
        assert len(got['preds'][0]) == M == got['after']

def test_training(two):
    "Equal parameters and statistics in both processes; each series once an epoch; a schedule that ends where it should"
    a, b = both(two, 'training')
    same_state(a['state'], b['state'])
    assert any('running_mean' in k for k in a['state'])
    assert np.array_equal(a['history'], b['history']) and np.isfinite(a['history']).all() and len(a['history']) == 3
    steps = -(-(N//8)//2)
    for epoch in range(3):
        rows = [[r for e, r in o['rows'] if e == epoch] for o in (a, b)]
        assert [len(o) for o in rows] == [steps, steps]
        dealt = [r for pair in zip(*rows) for r in pair][:N//8]     # without the batch that fills the last step
        assert len({i for r in dealt for i in r}) == N//8*8, 'a series came twice'
    assert a['ends'][-1] == b['ends'][-1] and a['ends'][-1][0] == pytest.approx(1) and a['ends'][-1][1] == 3*steps
    assert a['lrs'] == b['lrs'] and a['lrs'] == pytest.approx([combined_cos(.25, 4e-4, 1e-2, 1e-7)(i/(3*steps)) for i in range(3*steps)])

def test_wide_layers(two): same_state(*both(two, 'wide'))

def test_draws(two):
    "Dropout and augmentation differ by process"
    a, b = both(two, 'training', 'draws')
    assert not set(a) & set(b) and len(set(a)) == len(a) and len(set(b)) == len(b)

def test_equal_steps(two, alone):
    "A step of two processes is one of a process with twice the batch size, the incomplete last one too; each series with its weight"
    a, b = both(two, 'equal_steps')
    same_state(a, b)
    same_state(a, alone.equal_steps(16), 1e-5)

@pytest.mark.parametrize('how', ['sampler', 'none', 'weights', 'part', 'few'])
def test_orders(two, alone, how):
    "One order, dealt out, whatever draws it"
    a, b = both(two, 'orders', how)
    dealt = [r for pair in zip(a, b) for r in pair]
    assert len(a) == len(b) == len(alone.orders()[how]) // 2 + (len(alone.orders()[how]) % 2)
    if how == 'weights': assert {i % 2 for r in dealt for i in r} == {1}
    if how == 'none': assert len({i for r in dealt[:5] for i in r}) == 40
    if how == 'part': assert len({i for r in dealt[:4] for i in r}) == 32
    if how == 'few': assert [len(o) for o in dealt] == [38, 37] and len({i for r in dealt for i in r}) == N
    if how == 'sampler':
        y = one.data()[1]
        assert sorted(i for r in dealt for i in r)[:N] and all(len(set(y[r])) == 3 for r in dealt)

def test_fixed_features(two):
    "They are fitted in the first process, and are the same in the other one"
    a, b = both(two, 'features', 'shared')
    same_state(a, b)
    assert two[0]['features']['pruned'] == two[1]['features']['pruned']

@pytest.mark.parametrize('how', ['dual', 'primal', 'weighted dual', 'weighted primal'])
def test_closed_form(two, alone, how, one_features={}):
    "The solution of sums over both processes is that of one"
    if not one_features: one_features.update(alone.features())
    (found, state, history), (found2, state2, history2) = both(two, 'features', how)
    same_state(state, state2)
    ridge, want, recorded = one_features[how]
    assert found == found2 and found == pytest.approx(ridge, rel=1e-6)
    same_state(state, want, 1e-4)
    assert np.allclose(history, recorded, atol=1e-4) and np.array_equal(history, history2)

@pytest.mark.parametrize('how', ['stop', 'late', 'early', 'best'])
def test_verdicts(two, how):
    "Both end at the same step, with the same weights"
    (n, a), (m, b) = both(two, 'verdicts', how)
    assert n == m == {'stop': 4, 'late': 5, 'early': 10}.get(how, n)
    same_state(a, b)

def test_pruned_trials(two):
    "The first process has the trial; all see the same error, and the learners train on"
    pytest.importorskip('optuna')
    a, b = both(two, 'pruning')
    assert a['said'][::2] == b['said'][::2]     # the learner of fastai is only as if it trained in both
    for o in (a, b): assert len(o['said']) == 3 and all('after 2 epochs' in k for k in o['said'])
    assert a['reported'] == [2, 2, 2]
    same_state(a['state'], b['state'])

def test_files(two, alone):
    "The first process writes, both read; the search for a learning rate leaves nothing behind"
    a, b = both(two, 'files')
    same_state(a['state'], b['state'])
    assert torch.equal(a['read'], b['read']) and a['lr'] == b['lr'] and a['opt'] == b['opt'] and not a['temporary']
    folder = two[0]['folder']
    log = (folder/'log.csv').read_text().splitlines()
    assert len(log) == 3 and log[0].startswith('epoch')
    learn = load_learner(folder/'learner.pkl')
    assert learn.processes.world == 1 and not hasattr(learn, 'distributed_trainer')
    learn.dls = one.loaders()
    with learn.no_bar(): learn.fit(1)

def test_resume(two):
    "Both go on from the file of the first, to the same bits as without an interruption"
    for o in both(two, 'resuming'):
        same_state(o['whole'], o['resumed'])
        assert np.array_equal(*o['histories'])
    same_state(*both(two, 'resuming', 'whole'))

def test_other_processes_are_another_run(two, alone, tmp_path):
    "A checkpoint of two processes is refused by one, whose steps are others"
    learn = one.learner(one.loaders(batch_tfms=[one.TSStandardize(), one.TSNoise(p=1.)]))
    cbs = [one.ReduceLROnPlateau(patience=1), one.Checkpoint(two[0]['folder']/'resume.pt', resume=True)]
    with pytest.raises(ValueError, match='processes: was there then only'): learn.fit_one_cycle(4, 1e-2, cbs=cbs)

def test_differing_data(two):
    for msg in both(two, 'differing_data'): assert 'different series in loader 0' in msg and 'random_state=0' in msg

@pytest.mark.parametrize('how', ['raises', 'waits', 'ends'])
def test_lost_processes(two, how):
    "A process whose neighbour raises, waits or ends is told so, and does not wait for ever"
    kind, msg, seconds = two[0][how]
    assert kind == 'RuntimeError' and 'Process 0 of 2 lost the connection' in msg and 'its own messages say why' in msg and seconds < 30
    if how == 'raises': assert two[1][how][0] == 'ValueError'

# ---- shards, without processes

def shards(dl, world):
    "The shards of all processes: each one draws from a generator in the same state"
    state = dl.gen.get_state()
    for rank in range(world):
        dl.gen.set_state(state)
        yield dl.shard(rank, world)

def test_own_rows_alone_are_read(monkeypatch):
    read, was = [], TSDatasets.read
    def spy(self, rows, *args): read.append(rows.tolist()); return was(self, rows, *args)
    monkeypatch.setattr(TSDatasets, 'read', spy)
    seen = []
    for s in shards(one.loaders(8).train, 2):
        read.clear()
        rows = [s.rows.tolist() for _ in s]
        assert read == rows and len(rows) == len(s) == 5
        seen.append([i for r in rows for i in r])
    assert len(set(seen[0]) & set(seen[1])) == 8 and len(set(seen[0]) | set(seen[1])) == 72       # the first batch fills the last step

@pytest.mark.parametrize('world', [2, 3])
def test_units_of_files(world, tmp_path):
    "Where series are shuffled in units, a process reads few units, and all processes together all series"
    np.save(tmp_path/'x.npy', np.zeros((240, 1, 8), np.float32))
    split = range(192), range(192, 240)
    dl = get_ts_dls(tmp_path/'x.npy', splits=split, bs=4, shuffle_chunks=16, buffer=32, device='cpu').train
    batches = [s.batches() for s in shards(dl, world)]
    assert len(torch.cat([o for b in batches for o in b]).unique()) == 192
    units = [len((torch.cat(b)//16).unique()) for b in batches]
    assert max(units) <= 12//world + 2, units

@pytest.mark.parametrize('bs', [1, 4, 9, 21, 100])
@pytest.mark.parametrize('world', [2, 3, 5])
def test_validation_counts_once(bs, world):
    valid = one.loaders(8, val_bs=bs).valid
    rows = [i for r in range(world) for b in valid.shard(r, world).batches() for i in b.tolist()]
    assert sorted(rows) == list(range(M))
    padded = [valid.shard(r, world, pad=True) for r in range(world)]
    assert len({len(s.batches()) for s in padded}) == 1 and sum(map(sum, padded[0].sizes)) == M

def test_files_that_are_read_by_workers(tmp_path):
    "A shard of a file has the series of its rows"
    np.save(tmp_path/'x.npy', one.data()[0])
    dls = get_ts_dls(tmp_path/'x.npy', one.data()[1], splits=one.splits, bs=8, num_workers=1, device='cpu')
    for s in shards(dls.train, 2):
        for x, _ in s: assert np.array_equal(x.numpy(), one.data()[0][s.rows])

def test_one_process(alone):
    "The block changes nothing where there is one process"
    learn, plain = one.learner(), one.learner()
    plain.fit_one_cycle(1)
    with learn.distrib_ctx() as l: assert l is learn; learn.fit_one_cycle(1)
    same_state(one.state(learn), one.state(plain))

def test_nothing_is_imported(two):
    "Neither accelerate nor fastai's module, which fails without it, nor what torch's own module loads when it is made"
    for got in both(two, 'loaded'): assert got == []


# ---- Ray Train

@pytest.mark.skipif(importlib.util.find_spec('ray') is None, reason='ray is not installed')
@pytest.mark.filterwarnings('ignore::DeprecationWarning:ray')     # Ray sets its own old options
def test_ray_train(tmp_path):
    "TorchTrainer starts the processes, and sets the variables that a launcher sets"
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, runtime_env=dict(env_vars=dict(PYTHONPATH=str(Path(__file__).parents[1]))))
    try:
        TorchTrainer(one.ray_loop, train_loop_config=dict(folder=str(tmp_path)), scaling_config=ScalingConfig(num_workers=2, use_gpu=False),
                     run_config=RunConfig(storage_path=str(tmp_path/'ray'))).fit()
    finally: ray.shutdown()
    a, b = (torch.load(tmp_path/f'{i}.pt') for i in (0, 1))
    assert a['world'] == b['world'] == 2 and a['found'] == b['found']
    assert all(torch.equal(v, b['weights'][k]) for k, v in a['weights'].items())
