"""Where the numbers of `tsfast.recipe.recipe` come from: small samples of training splits, judged on the rest of these splits

No test split is read.

    python -m benchmarks.recipe_search

Most sets of the archive have 20 to 100 training series, so the settings have to suit samples of that size. Cross-validation within 20
series tells little, since one series is worth 5 points. Therefore sets with a larger training split are used: a sample of 24 to 48 series
to train on, and all the others to judge by. Long series are thinned to about 150 steps, so that a run takes a minute or two.

A run gives several rows: its last weights under the name of the settings, and other weights of the same training under the names of
`WEIGHTS`, such as `base ema`. Where the training loss of the last epoch is above a share `UNFINISHED` of log(classes), a second cycle of
`MORE` times the epochs follows, and its weights give the row `base on`. Rows of `MEANS` average the probabilities of networks that other
rows have measured."""
import argparse, itertools, math, time

import msgspec
import numpy as np
from benchmarks.rows import CACHE, RESULTS, append_row, read_rows, scores, versions

SETS = dict(ItalyPowerDemand=24, SyntheticControl=24, ECG200=32, SwedishLeaf=45, Plane=28,    # series to train on
            RacketSports=32, FacesUCR=42, NATOPS=30, JapaneseVowels=27, ProximalPhalanxTW=30, MiddlePhalanxOutlineAgeGroup=30,
            DistalPhalanxOutlineCorrect=32, PhalangesOutlinesCorrect=40, GunPointAgeSpan=24, GunPointMaleVersusFemale=24, ECG5000=40,
            ChlorineConcentration=40, Trace=24)
THINNED = dict(Beef=(20, 4), OSULeaf=(30, 3), Haptics=(30, 8), EOGHorizontalSignal=(36, 10), WormsTwoClass=(30, 6), CricketY=(36, 2),
               ScreenType=(30, 6), LargeKitchenAppliances=(30, 6), Computers=(24, 6))     # series to train on, every how many steps
BASE = dict(epochs=150, bs=8, lr=1e-3, wd=1e-2)
LONGER = dict(BASE, steps=1500)     # at least so many steps
CONFIGS = dict(
    base=BASE, bs4=dict(BASE, bs=4), bs16=dict(BASE, bs=16), lr3=dict(BASE, lr=3e-3), smooth=dict(BASE, label_smoothing=0.1),
    wd1=dict(BASE, wd=0.1), e75=dict(BASE, epochs=75), bs4lr3=dict(BASE, bs=4, lr=3e-3),
    s1500=LONGER, s3000=dict(BASE, steps=3000), bs4s1500=dict(LONGER, bs=4), wd1s1500=dict(LONGER, wd=0.1),
    plateau1500=dict(LONGER, schedule='plateau'),
    # networks that fit their training series more slowly
    **{f'{arch} {k}': dict(v, arch=arch) for arch in ('XceptionTime', 'FCN', 'ResNet', 'LITE') for k, v in
       dict(base=BASE, s1500=LONGER, s3000=dict(BASE, steps=3000), lr3=dict(BASE, lr=3e-3)).items()},
    # half of the series each, with the papers' magnitudes
    **{k: dict(BASE, tfms=[k]) for k in ('TSNoise', 'TSRandomScale', 'TSMagWarp', 'TSTimeWarp', 'TSWindowSlice')},
    **{k: dict(BASE, cbs=[k]) for k in ('MixUp', 'CutMix1d')},
    # fixed features: a linear layer is all that is trained
    **{f'MiniRocket {lr:g}': dict(BASE, arch='MiniRocket', lr=lr) for lr in (1e-4, 1e-3, 1e-2)},
    **{f'MiniRocket 0.001 {k}': dict(BASE, arch='MiniRocket', **v) for k, v in dict(wd1=dict(wd=1.), e25=dict(epochs=25)).items()})
FIXED = [k for k in CONFIGS if k.startswith('MiniRocket')]
WEIGHTS = ('ema', 'swa', 'best')
UNFINISHED, MORE = 0.2, 2
MEANS = {'s1500 and bs4s1500': ('s1500', 'bs4s1500')}
FIELDS = ['dataset', 'config', 'seed', 'n_train', 'n_valid', 'accuracy', 'balanced_accuracy', 'log_loss', 'seconds',
          'tsfast', 'torch', 'fastai', 'date', 'epochs', 'bs', 'steps', 'train_accuracy', 'train_loss', 'classes']
OUT = RESULTS/'recipe_search.csv'

def trained(X, y, splits, arch, seed, arch_args=None, train_cbs=(), tfms=(), cbs=(), **settings):
    """Train on the first split, once: (the run, training loss of the last epoch).

    `tfms` are random transforms, `cbs` callbacks of the learner, `train_cbs` callbacks of the training alone"""
    from tsfast.training import RunData, RunSettings, TrainingRun, batch_transforms
    s = RunSettings(arch=arch, arch_args=arch_args or {}, seed=seed, **settings)
    run = TrainingRun(s, RunData(X, y, splits), tfms=[*batch_transforms(['standardize', 'nan2value']), *tfms], cbs=list(cbs))
    learn = run.learner()
    with learn.no_bar(), learn.no_logging(): run.train(cbs=train_cbs, validate=False)
    return run, last_loss(learn)       # predictions empty the recorder

def last_loss(learn):
    "Mean training loss of the last epoch"
    return round(float(np.mean([float(o) for o in learn.recorder.losses[-len(learn.dls.train):]])), 5)

def sample(y, n, seed):
    "`n` series, each class as often as in `y` and at least twice, and the others"
    rng = np.random.default_rng(seed)
    order, classes = rng.permutation(len(y)), np.unique(y)
    per = {c: max(2, round(n*(y == c).mean())) for c in classes}
    train = np.concatenate([order[y[order] == c][:per[c]] for c in classes])
    return train, np.setdiff1d(np.arange(len(y)), train)

def built(config, n):
    "Settings for `n` series, with classes instead of names and epochs instead of steps"
    from fastai.callback.mixup import MixUp
    from tsfast.data import augment
    made = {k: [{'MixUp': MixUp, **vars(augment)}[n]() for n in config[k]] for k in ('tfms', 'cbs') if k in config}
    epochs = max(config['epochs'], math.ceil(config.get('steps', 0)/max(n//config['bs'], 1)))
    return {**{k: v for k, v in config.items() if k != 'steps'}, **made, 'epochs': epochs}

def averages():
    "A callback that keeps other weights of a training than the last: averages, and those of the epoch with the lowest training loss"
    from fastai.callback.core import Callback
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    class Averages(Callback):
        def before_fit(self):
            self.steps = self.n_epoch*len(self.dls.train)
            self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(1 - 10/self.steps), use_buffers=True) # of a tenth
            self.swa = AveragedModel(self.model, use_buffers=True)      # of the last quarter
            self.best, self.lowest = {}, math.inf

        def before_epoch(self): self.losses = []

        def after_batch(self):
            self.losses.append(float(self.loss.detach()))
            self.ema.update_parameters(self.model)
            if self.pct_train >= 0.75: self.swa.update_parameters(self.model)

        def after_train(self):
            if np.mean(self.losses) >= self.lowest: return
            self.best, self.lowest = {k: v.clone() for k, v in self.model.state_dict().items()}, np.mean(self.losses)

        def states(self): return zip(WEIGHTS, (self.ema.module.state_dict(), self.swa.module.state_dict(), self.best))
    return Averages()

def kept(name, config, seed):
    "Where the probabilities of a row are kept"
    return CACHE/f'recipe_{name}_{config}_{seed}.npy'

def run(name, config, seed):
    "The rows of one training; the last is of the last weights"
    from tsfast.data.external import get_UCR_data
    X, y, _, _ = get_UCR_data(name)
    n, every = THINNED.get(name) or (SETS[name], 1)
    X, splits = X[..., ::every], sample(y, n, seed)
    s, other, start = built(CONFIGS[config], len(splits[0])), averages(), time.perf_counter()
    done, loss = trained(X, y, splits, **dict(dict(arch='InceptionTime'), **s), seed=seed, train_cbs=[other])
    common = dict(dataset=name, seed=seed, n_train=len(splits[0]), n_valid=len(splits[1]), classes=len(np.unique(y)), epochs=s['epochs'],
                  bs=s['bs'], steps=other.steps, seconds=round(time.perf_counter() - start, 1), **versions())
    learn = done.learner()
    states = [('', {k: v.clone() for k, v in learn.model.state_dict().items()}, loss), *((k, v, '') for k, v in other.states())]
    def scored(key, train_loss):
        p = done.predict()
        with learn.no_bar(): fitted = scores(*(o.numpy() for o in learn.get_preds(ds_idx=0)))['accuracy']
        row = dict(common, config=f'{config} {key}'.strip(), **scores(p.probs.numpy(), p.targs.numpy()), train_accuracy=fitted,
                   train_loss=train_loss)
        return row, p.probs.numpy(), p.targs.numpy()
    rows = []
    for key, state, train_loss in reversed(states):
        learn.model.load_state_dict(state)
        rows.append(scored(key, train_loss))
    if loss > UNFINISHED*math.log(common['classes']):
        done.settings = msgspec.structs.replace(done.settings, epochs=MORE*s['epochs'])
        with learn.no_bar(), learn.no_logging(): done.train(validate=False)
        common.update(epochs=(1 + MORE)*s['epochs'], steps=(1 + MORE)*other.steps, seconds=round(time.perf_counter() - start, 1))
        rows.insert(0, scored('on', last_loss(learn)))
    return rows

def mean_row(name, config, seed, targs):
    "The row of averaged probabilities, if its networks are there"
    files = [kept(name, k, seed) for k in MEANS[config]]
    if not all(f.exists() for f in files): return None
    return dict(dataset=name, config=config, seed=seed, n_valid=len(targs), **scores(np.mean([np.load(f) for f in files], 0), targs),
                **versions())

def measure(name, config, seed):
    "Train and append all rows; the row of the last weights comes last but for means, so that a search that was cut short trains anew"
    CACHE.mkdir(parents=True, exist_ok=True)
    for row, probs, targs in run(name, config, seed):
        append_row(row, OUT, FIELDS)
    np.save(kept(name, config, seed), probs)
    for mean in [k for k, parts in MEANS.items() if config in parts]:
        if (averaged := mean_row(name, mean, seed, targs)) is not None: append_row(averaged, OUT, FIELDS)
    return row

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.recipe_search', description=__doc__.split('\n')[0])
    p.add_argument('--configs', nargs='+', default=list(CONFIGS))
    p.add_argument('--datasets', nargs='+', default=[*SETS, *THINNED])
    p.add_argument('--seeds', nargs='+', type=int, default=[0, 1])
    p.add_argument('--threads', type=int)
    a = p.parse_args(argv)
    import torch
    if a.threads: torch.set_num_threads(a.threads)
    for seed, config, name in itertools.product(a.seeds, a.configs, a.datasets):
        if any((r['dataset'], r['config'], r['seed']) == (name, config, str(seed)) for r in read_rows(OUT)): continue
        row = measure(name, config, seed)
        print(f"{name:28}{config:20}seed {seed}  accuracy {row['accuracy']:.4f}  log loss {row['log_loss']:.3f}  "
              f"on its own {row['train_accuracy']:.2f}, {row['train_loss']:.3f}  {row['steps']} steps  {row['seconds']:.0f} s", flush=True)


if __name__ == '__main__': main()
