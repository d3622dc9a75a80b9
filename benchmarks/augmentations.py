"""Which augmentations help, on held-back series of training splits; and what each costs for a batch

No test split is read: of each training split, a stratified part of `N_TRAIN` series (4 for each class, if that is more, and at most half) is
trained on, and all the others are judged by. A difference is that to a training without augmentation with the same series and the same seed.

    TSFAST_DATA=<folder with <Name>/<Name>_TRAIN.tsv> python -m benchmarks.augmentations [--sets …] [--configs …] [--seeds 0 1 2]
    python -m benchmarks.augmentations --cost         # times of a batch, beside a training step of InceptionTime
    python -m benchmarks.augmentations --render       # writes the part of the results page from what has been measured

The network is small (FCN with 32, 64 and 32 filters), so that some hundred trainings take an hour of one processor core. All have the same
number of steps. Each transform has its default magnitude and changes half of the series; RandAugment changes all. Series are thinned to at
most about 150 steps."""
import argparse, math, statistics, time
from pathlib import Path

import numpy as np
import pandas as pd
from benchmarks.recipe_search import sample
from benchmarks.rows import RESULTS, append_row, read_rows, scores, versions, write_part

QUICK = ['--cost', '--repeats', '5']
OUT, COSTS = RESULTS/'augmentations.csv', RESULTS/'augmentations_cost.csv'
SETS = dict(SyntheticControl=1, SwedishLeaf=1, MiddlePhalanxTW=1, ProximalPhalanxTW=1, DistalPhalanxOutlineCorrect=1, FacesUCR=1,   # every how
            ECG5000=1, CricketZ=2, WordSynonyms=2, Adiac=1, OSULeaf=3, ShapesAll=4, NATOPS=1, RacketSports=1)                     # many steps
# channels x, y and z of each sensor
GROUPS = dict(NATOPS=tuple((3*i, 3*i + 1, 3*i + 2) for i in range(8)), RacketSports=((0, 1, 2), (3, 4, 5)))
SINGLE = ['TSNoise', 'TSRandomScale', 'TSMagWarp', 'TSTimeWarp', 'TSWindowSlice', 'TSWindowWarp', 'TSPermutation', 'TSMaskSpans',
          'TSMaskFrequencies', 'TSMaskChannels', 'TSRotate']
CONFIGS = ['none', *SINGLE, 'TSRandomScale + TSWindowWarp', 'RandAugment', 'MixUp', 'CutMix1d']
N_TRAIN, STEPS, SETTINGS = 100, 600, dict(arch='FCN', arch_args=dict(layers=[32, 64, 32]), bs=16, lr=1e-2, wd=1e-2)
FIELDS = ['dataset', 'config', 'seed', 'accuracy', 'balanced_accuracy', 'log_loss', 'train_loss', 'seconds', 'n_train', 'n_valid', 'channels',
          'length', 'classes', 'steps', 'threads', 'tsfast', 'torch', 'date']
COST_FIELDS = ['config', 'shape', 'us', 'step_us', 'share', 'repeats', 'threads', 'device', 'tsfast', 'torch', 'date']


# ---- what helps

def fits(config, dataset):
    "Masks of channels need several, and rotation needs axes"
    return dataset in GROUPS or config not in ('TSMaskChannels', 'TSRotate')

def transforms(config, dataset=None):
    "Random transforms and callbacks of a configuration"
    from fastai.callback.mixup import MixUp
    from tsfast.data import all as data
    groups = {'groups': GROUPS[dataset]} if dataset in GROUPS else {}
    if config in ('MixUp', 'CutMix1d'): return [], [{'MixUp': MixUp, 'CutMix1d': data.CutMix1d}[config]()]
    return [getattr(data, k)(**(groups if k == 'TSRotate' else {})) for k in config.split(' + ') if k != 'none'], []

def measure(name, config, seed):
    "The row of one training"
    from tsfast.data.external import get_UCR_data
    from tsfast.training import RunData, RunSettings, TrainingRun, batch_transforms
    X, y, _, _ = get_UCR_data(name)
    X, classes = X[..., ::SETS[name]], len(np.unique(y))
    splits = sample(y, min(max(N_TRAIN, 4*classes), len(y)//2), seed)
    fs, cbs = transforms(config, name)
    scaling = batch_transforms(['standardize', 'nan2value'])
    epochs = math.ceil(STEPS/max(len(splits[0])//SETTINGS['bs'], 1))
    run = TrainingRun(RunSettings(**SETTINGS, seed=seed, epochs=epochs), RunData(X, y, splits), tfms=[*scaling, *fs])
    learn, start = run.learner(), time.process_time()
    with learn.no_bar(), learn.no_logging(): run.train(cbs=cbs, validate=False)
    per_epoch = len(learn.dls.train)
    loss = float(np.mean([float(o) for o in learn.recorder.losses[-per_epoch:]]))
    p = run.predict()
    return dict(dataset=name, config=config, seed=seed, **scores(p.probs.numpy(), p.targs.numpy()), train_loss=round(loss, 5),
                seconds=round(time.process_time() - start, 2), n_train=len(splits[0]), n_valid=len(splits[1]), channels=X.shape[1],
                length=X.shape[2], classes=classes, steps=epochs*per_epoch, **versions())


# ---- what it costs

def cost(repeats, shape, device):
    "Median microseconds of a batch for each transform, and of a training step of InceptionTime, in turns"
    import torch
    from tsfast.data.all import get_ts_dls
    from tsfast.learner import ts_learner
    B, C, L = shape
    x = torch.randn(B, C, L, device=device)
    dls = get_ts_dls(torch.cat([x, x[:4]]).cpu(), np.arange(B + 4) % 3, splits=(range(B), range(B, B + 4)), bs=B, device=device)
    learn = ts_learner(dls, 'InceptionTime', seed=0)
    learn.create_opt()
    model, yb = learn.model.to(device).train(), dls.train.one_batch()[1]
    def step():
        learn.loss_func(model(x), yb).backward()
        learn.opt.step(); learn.opt.zero_grad()
    fs = {}
    for k in CONFIGS[1:]:
        if k in ('TSMaskChannels', 'TSRotate') and C < 3: continue
        tfms = transforms(k)[0]
        if not tfms: continue       # callbacks
        fs[k] = lambda tfms=tfms: [f.on_series(x) for f in tfms]
    fs['step'] = step
    gpu = torch.device(device).type == 'cuda'
    wait, clock = (torch.cuda.synchronize, time.perf_counter) if gpu else (lambda: None, time.process_time)     # others may use the processor, too
    times = {k: [] for k in fs}
    for i in range(repeats + 2):        # two rounds to warm up
        for k, f in fs.items():
            n = 1 if k == 'step' else 10
            wait(); t = clock()
            for _ in range(n): f()
            wait()
            if i > 1: times[k].append((clock() - t)/n*1e6)
    median = {k: statistics.median(v) for k, v in times.items()}
    return [dict(config=k, shape='×'.join(map(str, shape)), us=round(v, 1), step_us=round(median['step'], 1),
                 share=round(v/median['step'], 5), repeats=repeats, **versions()) for k, v in median.items() if k != 'step']


# ---- the page

def differences(rows):
    "Accuracy against the same training without augmentation, in points: a frame of sets × configurations, means over seeds; and seeds"
    df = pd.DataFrame(rows)
    for k in ('accuracy', 'log_loss'): df[k] = pd.to_numeric(df[k])
    base = df[df.config == 'none'].set_index(['dataset', 'seed'])[['accuracy', 'log_loss']]
    both = df[df.config != 'none'].join(base, on=['dataset', 'seed'], rsuffix='_base', how='inner')
    both['points'], both['loss'] = 100*(both.accuracy - both.accuracy_base), both.log_loss - both.log_loss_base
    return both

def markdown(rows):
    "A row for each augmentation: mean difference and standard error over sets, and the sets on which it was better and worse"
    both = differences(rows) if any(r['config'] != 'none' for r in rows) else ()
    if not len(both): return 'Nothing has been measured yet.'
    per_set = both.groupby(['config', 'dataset'])[['points', 'loss']].mean()
    lines = ['| augmentation | sets | trainings | accuracy, points | better, worse | log loss |', '|---|---|---|---|---|---|']
    order = per_set.groupby('config').points.mean().sort_values(ascending=False).index
    for k in order:
        d, n = per_set.loc[k], int((both.config == k).sum())
        err = lambda v: f'{v.mean():+.2f} ± {v.std(ddof=1)/math.sqrt(len(v)):.2f}' if len(v) > 1 else f'{v.mean():+.2f}'
        lines.append(f'| {k} | {len(d)} | {n} | {err(d.points)} | {(d.points > 0).sum()}, {(d.points < 0).sum()} | {err(d.loss)} |')
    return '\n'.join(lines)

def by_set(rows):
    "Sets × augmentations: mean difference in points"
    both = differences(rows)
    wide = both.pivot_table(index='dataset', columns='config', values='points')
    wide = wide[wide.mean().sort_values(ascending=False).index]
    base = pd.DataFrame([r for r in rows if r['config'] == 'none']).astype({'accuracy': float}).groupby('dataset').accuracy.mean()
    lines = ['| set | none | ' + ' | '.join(wide.columns) + ' |', '|---'*(len(wide.columns) + 2) + '|']
    cell = lambda v: '' if pd.isna(v) else f'{v:+.1f}'
    return '\n'.join(lines + [f'| {k} | {100*base[k]:.1f} | ' + ' | '.join(map(cell, v)) + ' |' for k, v in wide.iterrows()])

def cost_table(rows):
    "A row for each transform, a column for each shape"
    df = pd.DataFrame(rows)
    df['cell'] = [f"{float(r['us']):.0f} µs, {100*float(r['share']):.1f} %" for r in rows]
    wide = df.drop_duplicates(['config', 'shape'], keep='last').pivot(index='config', columns='shape', values='cell')
    wide = wide.loc[[k for k in CONFIGS if k in wide.index]]
    return '\n'.join(['| transform | ' + ' | '.join(wide.columns) + ' |', '|---'*(len(wide.columns) + 1) + '|',
                      *(f'| {k} | ' + ' | '.join('' if pd.isna(v) else v for v in row) + ' |' for k, row in wide.iterrows())])

HEAD = """How these were made: `python -m benchmarks.augmentations`. Of each training split, 100 series (4 for each class, if that is more, and
at most half) were trained on and the others were predicted; no test split was read. The network is a small FCN, 600 steps of 16 series.
A difference is that to the same series and seed without augmentation; its standard error is over sets. Each transform has its default
magnitude and changes half of the series, RandAugment all. More steps, another network or other magnitudes may turn an order around."""
COST_HEAD = """Median time of one batch (series × channels × steps) that passes the transform with its default probability, in seconds of the
processor, on one thread, and its share of a training step of InceptionTime, measured in turns: `python -m benchmarks.augmentations --cost`."""

def render(rows, costs, out=OUT.with_suffix('.md')):
    "Write the page's part"
    parts = ['## Augmentations', HEAD, markdown(rows)]
    if rows and parts[-1][0] == '|': parts += ['Differences for each set, beside the accuracy without augmentation, in percent:', by_set(rows)]
    if costs: parts += ['### Cost', COST_HEAD, cost_table(costs)]
    return write_part(out, *parts)

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.augmentations', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--sets', nargs='+', default=list(SETS))
    p.add_argument('--configs', nargs='+', default=CONFIGS)
    p.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--out', type=Path, default=OUT)
    p.add_argument('--cost', action='store_true', help='measure times instead')
    p.add_argument('--shapes', nargs='+', default=['64,1,150', '64,6,150', '64,6,500'], help='of batches, for --cost')
    p.add_argument('--repeats', type=int, default=20, help='rounds, for --cost')
    p.add_argument('--device', default='cpu', help='for --cost')
    p.add_argument('--render', action='store_true', help='write the part of the results page from what has been measured')
    a = p.parse_args(argv)
    if a.render: return print(render(read_rows(a.out), read_rows(COSTS)))
    import torch
    torch.set_num_threads(a.threads)
    if a.cost:
        for shape in a.shapes:
            for row in cost(a.repeats, tuple(map(int, shape.split(','))), a.device):
                append_row(row, COSTS, COST_FIELDS)
                print(f"{row['config']:32}{row['shape']:12}{row['us']:10.0f} µs  {100*row['share']:.2f} % of a step", flush=True)
        return
    done = {(r['dataset'], r['config'], r['seed']) for r in read_rows(a.out)}
    for seed in a.seeds:
        for config in a.configs:
            for name in a.sets:
                if not fits(config, name) or (name, config, str(seed)) in done: continue
                row = measure(name, config, seed)
                append_row(row, a.out, FIELDS)
                print(f"{name:30}{config:30}seed {seed}  accuracy {row['accuracy']:.4f}  loss {row['train_loss']:.3f}  {row['seconds']:.1f} s", flush=True)


if __name__ == '__main__': main()
