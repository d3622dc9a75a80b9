"""Test accuracy on the archive's default splits: a sweep that can be stopped at any time and goes on where it stopped.

    python -m benchmarks.accuracy                                            # what is missing of the default plan
    python -m benchmarks.accuracy --datasets ECG200 Beef --archs FCN --seeds 0 1 2
    python -m benchmarks.accuracy --archs MiniRocket Hydra --ridge           # heads in closed form
    python -m benchmarks.accuracy --render                                   # only the pages' table and diagrams

No choice is made by looking at test data: the settings come from `tsfast.recipe.recipe`, which sees the number of training series, their length and the architecture and is
the same for all data sets; it was chosen inside training splits (`benchmarks/recipe_search.py`). Each network is trained on the whole training split and evaluated once, with the
weights of the last epoch. Data is found on the ordinary search path of `get_UCR_data` (a folder in TSFAST_DATA, the cache, sktime's package, download).

One row a run in `benchmarks/results/accuracy.csv`. The probabilities of each run are kept in `benchmarks/.cache/` (not in git), from which rows of ensembles are made."""
import argparse, csv, os, platform, time
from datetime import date
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
RESULTS, CACHE = HERE/'results', HERE/'.cache'/'probs'
FIELDS = ['dataset', 'arch', 'seed', 'recipe', 'epochs', 'bs', 'lr', 'wd', 'label_smoothing', 'n_train', 'n_test', 'accuracy', 'balanced_accuracy', 'log_loss', 'train_loss',
          'seconds', 'device', 'threads', 'tsfast', 'torch', 'fastai', 'date']
QUICK = ['--render']   # the quick round renews the table from the rows; the sweep itself takes hours
KEY = ['dataset', 'arch', 'seed', 'recipe', 'epochs', 'bs', 'lr']

# telling sets first; then those where nearly all methods are perfect, which only catch gross breakage; then the large ones
TELLING = 'ItalyPowerDemand SonyAIBORobotSurface1 MoteStrain ECG200 ArrowHead FaceFour Beef Lightning7 OSULeaf'.split()
SATURATED = 'Coffee GunPoint ECGFiveDays TwoLeadECG CBF Trace Plane SyntheticControl'.split()
LARGE = 'SwedishLeaf Adiac ECG5000 ChlorineConcentration'.split()
GAPS = 'DodgerLoopGame PickupGestureWiimoteZ'.split()
MULTIVARIATE = 'BasicMotions RacketSports NATOPS JapaneseVowels'.split()
GROUPS = dict(telling=TELLING, saturated=SATURATED, large=LARGE, gaps=GAPS, multivariate=MULTIVARIATE, univariate=TELLING+SATURATED+LARGE+GAPS)


# ---- rows

def read_rows(file=RESULTS/'accuracy.csv'):
    "All whole rows; one that a crash cut short is left out"
    if not Path(file).exists(): return []
    with open(file, newline='', encoding='utf-8') as f: rows = list(csv.DictReader(f))
    return [r for r in rows if None not in r.values() and None not in r]

def append_row(row, file=RESULTS/'accuracy.csv', fields=FIELDS):
    "One write of one line, so that processes side by side cannot mix theirs"
    file.parent.mkdir(parents=True, exist_ok=True)
    line = ','.join(str(row.get(k, '')) for k in fields) + '\n'
    fd = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(fd).st_size
        before = ','.join(fields) + '\n' if not size else '' if os.pread(fd, 1, size - 1) == b'\n' else '\n'   # a header; or the end of a line that a crash cut short
        os.write(fd, (before + line).encode())
    finally: os.close(fd)

def key_of(row): return tuple(f'{float(row[k]):g}' if k in ('epochs', 'bs', 'lr', 'seed') else str(row[k]) for k in KEY)

def versions():
    import fastai, torch, tsfast
    return dict(tsfast=tsfast.__version__, torch=torch.__version__, fastai=fastai.__version__, date=date.today().isoformat(), threads=torch.get_num_threads(),
                device=torch.cuda.get_device_name().replace(',', '') if torch.cuda.is_available() else f'cpu {platform.machine()}')


# ---- one run

def fit(X, y, splits, arch, seed, epochs, bs, lr, wd=None, label_smoothing=0., tfms=(), ridge=False, **kwargs):
    "Train on the first split, once, and predict the second, once: (learner, probabilities, targets)"
    from fastai.callback.core import Callback, CancelValidException
    from tsfast.data.core import get_ts_dls
    from tsfast.data.preprocessing import TSNan2Value, TSStandardize
    from tsfast.data.targets import TSClassification
    from tsfast.learner import ts_learner
    class NoValidation(Callback):   # nobody looks at the test split during training
        def before_validate(self): raise CancelValidException()
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=[TSStandardize(by_var=True), TSNan2Value(), *tfms], bs=bs, val_bs=256)
    learn = ts_learner(dls, arch, seed=seed, wd=wd, label_smoothing=label_smoothing, **kwargs)
    with learn.no_bar(), learn.no_logging():
        if ridge:
            from tsfast.callbacks import training_batches
            from tsfast.models.ridge import fit_ridge_head
            fit_ridge_head(learn.model, training_batches(dls), n_classes=dls.c)
        else:
            learn.fit_one_cycle(epochs, lr, cbs=NoValidation())
            learn.train_loss = float(np.mean([float(o) for o in learn.recorder.losses[-len(dls.train):]]))   # of the last epoch; predicting empties the recorder
        probs, targs = learn.get_preds(dl=dls.valid)
    return learn, probs.numpy(), targs.numpy()

def scores(probs, targs):
    from sklearn.metrics import balanced_accuracy_score
    pred = probs.argmax(1)
    return dict(accuracy=round(float((pred == targs).mean()), 6), balanced_accuracy=round(float(balanced_accuracy_score(targs, pred)), 6),
                log_loss=round(float(-np.log(np.clip(probs[np.arange(len(targs)), targs], 1e-7, 1)).mean()), 5))

def settings(n_train, length, arch, ridge=False, **changes):
    "The recipe, and its name: 'recipe' as it is, 'ridge' for heads in closed form, 'custom' where anything was changed by hand"
    from tsfast.recipe import recipe
    if ridge: return dict(recipe='ridge', epochs=0, bs=64, lr=0., wd=0., label_smoothing=0.)
    changes = {k: v for k, v in changes.items() if v is not None}
    return dict(recipe='custom' if changes else 'recipe', **{**recipe(n_train, length, arch), **changes})

def run(dataset, arch, seed, done=(), ridge=False, out=RESULTS/'accuracy.csv', save=True, **changes):
    "One row; None if it is there already"
    from tsfast.data.external import get_UCR_data
    X, y, splits = get_UCR_data(dataset, split_data=False)
    s = settings(len(splits[0]), X.shape[-1], arch, ridge, **changes)
    row = dict(dataset=dataset, arch=arch, seed=seed, **s, n_train=len(splits[0]), n_test=len(splits[1]))
    if key_of(row) in done: return None
    name = s.pop('recipe')
    start = time.perf_counter()
    learn, probs, targs = fit(X, y, splits, arch, seed, ridge=ridge, **s, **(dict(random_state=seed) if ridge else {}))
    row.update(scores(probs, targs), seconds=round(time.perf_counter() - start, 1), train_loss='' if ridge else round(learn.train_loss, 5), **versions())
    append_row(row, out)
    if save:
        CACHE.mkdir(parents=True, exist_ok=True)
        np.savez(CACHE/('_'.join([dataset, arch, name, f"{s['epochs']:g}-{s['bs']:g}-{s['lr']:g}", str(seed)]) + '.npz'), probs=probs.astype(np.float16), targs=targs)
    return row

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.accuracy', description=__doc__.split('\n')[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument('--datasets', nargs='+', default=['telling'], help=f"names of sets, or of groups: {', '.join(GROUPS)}")
    p.add_argument('--archs', nargs='+', default=['InceptionTime'], help='registered architectures')
    p.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    p.add_argument('--epochs', type=int, help='instead of the recipe')
    p.add_argument('--bs', type=int, help='instead of the recipe')
    p.add_argument('--lr', type=float, help='instead of the recipe')
    p.add_argument('--ridge', action='store_true', help='heads in closed form, for models with fixed features')
    p.add_argument('--threads', type=int, help="torch's threads")
    p.add_argument('--out', type=Path, default=RESULTS/'accuracy.csv')
    p.add_argument('--render', action='store_true', help='only make the table and the diagrams from the rows')
    a = p.parse_args(argv)
    if a.render:
        from benchmarks.accuracy_report import render
        print(render())
    else:
        import torch
        if a.threads: torch.set_num_threads(a.threads)
        names = [n for o in a.datasets for n in GROUPS.get(o, [o])]
        for seed in a.seeds:                # a first figure for every set comes before a second for any
            for arch in a.archs:
                for name in names:
                    done = {key_of(r) for r in read_rows(a.out)}    # read anew: another process may be at work
                    row = run(name, arch, seed, done, a.ridge, a.out, epochs=a.epochs, bs=a.bs, lr=a.lr)
                    if row: print(f"{name:24}{arch:18}seed {seed}  accuracy {row['accuracy']:.4f}  {row['seconds']:.0f} s", flush=True)

if __name__ == '__main__': main()
