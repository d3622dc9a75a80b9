"""From rows of accuracies to what a page shows: a table beside the published figures, means over the sets that both have, and
critical-difference diagrams.

    python -m benchmarks.accuracy --render      # writes results/accuracy.md, results/accuracy_*.svg and the rows of the ensembles

Everything is computed from the rows in `benchmarks/results/`, so that a page is renewed with them."""
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.rows import CACHE, FIELDS, GROUPS, RESULTS, append_row, probs_file, read_rows, scores

# which published figure an architecture is to be judged against; one network against single networks, an ensemble against the ensemble
PUBLISHED = {'InceptionTime': 'inception_x1_mean', 'InceptionTime ×5': 'inceptiontime', 'InceptionTime ×3': 'inceptiontime', 'FCN': 'fcn',
             'ResNet': 'resnet', 'HInceptionTime': 'h_inception_x1_mean', 'LITE': 'lite', 'LITE ×5': 'litetime', 'LITE ×3': 'litetime',
             'MiniRocket + ridge': 'minirocket', 'HydraPlus + ridge': 'hydra', 'MultiRocketHydra + ridge': 'multirocket_hydra',
             'TSForestClassifier': 'quant', 'Quant + ridge': 'quant'}
NAMES = dict(inception_x1_mean='Inception, one network', inceptiontime='InceptionTime, ensemble of 5', fcn='FCN', resnet='ResNet',
             minirocket='MiniRocket', hydra='Hydra',
             multirocket_hydra='MultiRocket-Hydra', hive_cote2='HIVE-COTE 2', rocket='ROCKET', quant='QUANT',
             h_inception_x1_mean='H-Inception, one network', lite='LITE, one network', litetime='LITETime, ensemble of 5')
ENSEMBLES = RESULTS/'accuracy_ensembles.csv'


# ---- rows

def measured(): # dataset, model, seed, accuracy, balanced_accuracy, seconds
    "All runs with the recipe or with a closed-form head; runs with settings by hand are left out"
    rows = pd.DataFrame(read_rows(), columns=FIELDS)
    rows = rows[rows.recipe.isin(['recipe', 'ridge'])].assign(model=lambda d: d.arch + np.where(d.recipe == 'ridge', ' + ridge', ''))
    other = RESULTS/'rocket_accuracy.csv'
    if other.exists():   # fixed features have a sweep of their own, with their times; what is only there comes along
        o = pd.read_csv(other).assign(model=lambda d: d.model + np.where(d.alpha.isna(), '', ' + ridge'))
        there = set(zip(rows.dataset, rows.model, rows.seed.astype(int)))
        o = o[[k not in there for k in zip(o.dataset, o.model, o.seed)]]
        rows = pd.concat([rows, o[['dataset', 'model', 'seed', 'accuracy']].astype({'seed': str})])
    if ENSEMBLES.exists(): rows = pd.concat([rows, pd.DataFrame(read_rows(ENSEMBLES)).assign(model=lambda d: d.arch)])
    num = ['accuracy', 'balanced_accuracy', 'seconds', 'epochs']
    rows[num] = rows[num].apply(pd.to_numeric, errors='coerce')
    return rows.drop_duplicates(['dataset', 'model', 'seed'], keep='last').reset_index(drop=True)

def write_ensembles(sizes=(3, 5)):
    "The mean of the probabilities of k runs, those with the lowest seeds, for every set where as many were kept"
    have = {(r['dataset'], r['arch']) for r in read_rows(ENSEMBLES)}
    kept = {}
    for r in sorted(read_rows(), key=lambda r: int(r['seed'])):
        file = probs_file(CACHE, r)
        if r['recipe'] == 'recipe' and file.exists(): kept.setdefault((r['dataset'], r['arch']), []).append((r, file))
    for (dataset, arch), runs in sorted(kept.items()):
        for k in sizes:
            if (dataset, f'{arch} ×{k}') in have or len(runs) < k: continue
            rows, arrays = [r for r, _ in runs[:k]], [np.load(f) for _, f in runs[:k]]
            probs = np.mean([o['probs'].astype(np.float64) for o in arrays], 0)
            append_row({**rows[0], 'arch': f'{arch} ×{k}', 'seed': ' '.join(r['seed'] for r in rows), 'train_loss': '',
                        **scores(probs, arrays[0]['targs']),
                        'seconds': round(sum(float(r['seconds']) for r in rows), 1)}, ENSEMBLES)

def published(): # datasets × methods, 0 to 1
    from tsfast.data.external import published_accuracy
    return published_accuracy()


# ---- tables

def table(models=None, datasets=None): # one row a set; '89.9 ± 0.5 (3)' is the mean, the standard deviation and the number of runs
    "Measured beside published, in percent"
    rows, pub = measured(), published()
    models = models or [m for m in PUBLISHED if m in set(rows.model)] + sorted(set(rows.model) - set(PUBLISHED))
    datasets = datasets or [d for d in GROUPS['univariate'] + GROUPS['multivariate'] if d in set(rows[rows.model.isin(models)].dataset)]
    out = pd.DataFrame(index=pd.Index(datasets, name='data set'))
    for m in models:
        g = rows[rows.model == m].groupby('dataset').accuracy
        mean, sd, n = g.mean()*100, g.std()*100, g.size()
        def cell(d):
            if d not in mean: return ''
            return f'{mean[d]:.1f}' + (f' ± {sd[d]:.1f}' if n[d] > 1 else '') + (f' ({n[d]})' if '×' not in m else '')
        out[m] = [cell(d) for d in datasets]
        p = PUBLISHED.get(m)
        if p not in pub or f'published {NAMES[p]}' in out: continue
        known = lambda d: f'{pub[p][d]*100:.1f}' if d in pub.index and pd.notna(pub[p][d]) else ''
        out[f'published {NAMES[p]}'] = [known(d) for d in datasets]
    return out

def means(models=None): # one row a model
    "Means over the sets that were measured and published, and how the model compares there"
    rows, pub, out = measured(), published(), []
    for m in models or [m for m in PUBLISHED if m in set(rows.model)]:
        mine, ref = rows[rows.model == m].groupby('dataset').accuracy.mean(), pub[PUBLISHED[m]].dropna()
        both = mine.index.intersection(ref.index)
        if not len(both): continue
        d = (mine[both] - ref[both])*100
        runs = rows[(rows.model == m) & rows.dataset.isin(both)].groupby('dataset').size()
        out.append(dict(model=m, sets=len(both), runs=f'{runs.min()}–{runs.max()}' if runs.min() < runs.max() else f'{runs.min()}',
                        measured=f'{mine[both].mean()*100:.2f}',
                        published=f'{ref[both].mean()*100:.2f}', difference=f'{d.mean():+.2f}',
                        **{'median difference': f'{d.median():+.2f}'},
                        **{'better / same / worse': f'{(d > .05).sum()} / {(d.abs() <= .05).sum()} / {(d < -.05).sum()}'},
                        **{'published as': NAMES[PUBLISHED[m]]}))
    return pd.DataFrame(out)

def missing(archs=('InceptionTime', 'HInceptionTime', 'LITE', 'XceptionTime', 'FCN', 'ResNet', 'LSTM_FCN', 'RNNAttentionPlus',
                   'LSTMAttentionPlus', 'GRUAttentionPlus', 'MiniRocket', 'HydraPlus', 'MultiRocketHydra',
                   'MiniRocket + ridge', 'HydraPlus + ridge', 'MultiRocketHydra + ridge', 'TSForestClassifier'), seeds=3):
    "Cells of the plan that nobody has measured yet"
    rows = measured()
    n = rows.groupby(['model', 'dataset']).size()
    sets = GROUPS['univariate'] + GROUPS['multivariate']
    return pd.DataFrame([dict(model=a, **{'sets with no run': sum((a, d) not in n.index for d in sets),
                                          f'sets with fewer than {seeds} runs': sum(n.get((a, d), 0) < seeds for d in sets),
                                          'sets': len(sets)}) for a in archs])

def to_markdown(df, index=True):
    df = df.reset_index() if index else df
    lines = ['| ' + ' | '.join(map(str, df.columns)) + ' |', '|' + '---|'*len(df.columns)]
    return '\n'.join(lines + ['| ' + ' | '.join(str(v) if str(v) else '–' for v in r) + ' |' for r in df.itertuples(index=False)])


# ---- critical differences

def cliques(scores_, alpha=0.05): # scores_: datasets × methods. (mean ranks, lowest first; groups of methods that no test tells apart)
    "Ranks, and pairs by Wilcoxon's signed-rank test with Holm's correction (Demšar 2006; Benavoli et al. 2016)"
    from itertools import combinations
    from scipy.stats import rankdata, wilcoxon
    ranks = pd.Series(rankdata(-scores_.to_numpy().round(6), axis=1).mean(0), index=scores_.columns).sort_values(kind='stable')
    pairs = []
    for a, b in combinations(ranks.index, 2):
        d = (scores_[a] - scores_[b]).to_numpy()
        pairs.append((wilcoxon(d, zero_method='pratt', method='approx').pvalue if np.any(np.abs(d) > 1e-9) else 1., a, b))
    apart, still = set(), True
    for i, (p, a, b) in enumerate(sorted(pairs)):
        still = still and p <= alpha/(len(pairs) - i)
        if still: apart |= {(a, b), (b, a)}
    names, groups = list(ranks.index), []
    for i in range(len(names)):
        j = i
        while j + 1 < len(names) and not any((names[k], names[j+1]) in apart for k in range(i, j + 1)): j += 1
        if j > i and not any(g[0] <= i and j <= g[1] for g in groups): groups.append((i, j))
    return ranks, [(names[i], names[j]) for i, j in groups]

def cd_diagram(scores_, file=None, title=None, alpha=0.05):
    "Mean ranks on a line; a bar joins methods that the tests do not tell apart"
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    ranks, groups = cliques(scores_, alpha)
    k, half = len(ranks), (len(ranks) + 1)//2
    with plt.rc_context({'svg.hashsalt': 'tsfast', 'svg.fonttype': 'none', 'font.size': 9}):
        fig, ax = plt.subplots(figsize=(8, 0.9 + 0.24*half + 0.12*len(groups)))
        low, high = 1, max(k, 2)
        ax.set_xlim(low - 0.42*(high - low), high + 0.42*(high - low)); ax.axis('off')
        ax.plot([low, high], [0, 0], 'k', lw=1)
        for t in range(low, high + 1): ax.plot([t, t], [0, 0.12], 'k', lw=1); ax.text(t, 0.2, str(t), ha='center', va='bottom')
        bars = 0.18*len(groups)
        for i, (name, r) in enumerate(ranks.items()):
            left = i < half
            y = -0.35 - bars - 0.42*(i if left else k - 1 - i)
            x = low - 0.04*(high - low) if left else high + 0.04*(high - low)
            ax.plot([r, r, x], [0, y, y], color='0.35', lw=0.8)
            ax.text(x, y, f'{name}  {r:.2f} ' if left else f' {r:.2f}  {name}', ha='right' if left else 'left', va='center')
        for i, (a, b) in enumerate(groups): ax.plot([ranks[a] - 0.04, ranks[b] + 0.04], [-0.16 - 0.18*i]*2, color='C0', lw=3,
                                                    solid_capstyle='round')
        ax.set_ylim(top=0.75)
        ax.set_title((title or '') + f' ({len(scores_)} data sets; lower is better; bars: no difference at {alpha:g})', fontsize=9)
        if file is not None: fig.savefig(file, bbox_inches='tight', metadata={'Date': None} if str(file).endswith('svg') else None)
        plt.close(fig)
    return ranks, groups

def compared(models=None, references=('inception_x1_mean', 'inceptiontime', 'rocket', 'hive_cote2'), datasets=None): # datasets × methods
    "Mean accuracies of measured models and of published methods, on the sets that all of them have"
    rows, pub = measured(), published()
    wide = rows.pivot_table(index='dataset', columns='model', values='accuracy', aggfunc='mean')
    wide = wide[[m for m in (models or wide.columns) if m in wide]].rename(columns=lambda m: f'tsfast {m}')
    return wide.join(pub[list(references)].rename(columns=NAMES), how='inner').loc[lambda d: d.index.isin(datasets or d.index)].dropna()


# ---- the page's parts

HEAD = """How these were made: a run trains one network on the archive's training split with `tsfast.recipe.recipe`, and evaluates its
last weights once on the test split; there is a run for each seed. One rule for all data sets makes the settings from the size of the
training split alone: test data affected no choice. Models with fixed features have a head in closed form (`+ ridge`), or trees
(`TSForestClassifier`): `python -m benchmarks.rocket_accuracy`. `Quant + ridge` stands beside the published figure of QUANT, which is of
trees. `×5` is the mean of the probabilities of five runs: they are kept on the machine that
trained (`benchmarks/.cache`), so to measure an ensemble anew delete the rows of its set from both files of rows, and train as many seeds.
A mean difference may rest on few sets, so the median stands beside it. A model is *same* where it differs by at most 0.05 percent. In the
tables, *mean ± standard deviation (runs)*, in percent. Published figures are those of `published_accuracy()`, where their sources are
named."""

SEARCH = ('On series of training splits that were held out (`benchmarks/recipe_search.py`); no test split was read. `base` is 150 '
          'epochs with batches of 8, of InceptionTime where no other is named; `bs`, `e`, `lr`, `wd` and `s` change the batch '
          'size, the epochs, the rate, the weight decay and the least number of steps, `smooth` the label smoothing. `ema`, `swa` '
          'and `best` are other weights of the same training: a moving average over about a tenth of the steps, the mean over the '
          'last quarter, and those of the epoch with the lowest training loss. `on` adds a second cycle of twice the epochs, in the '
          'runs alone whose training loss ended above a fifth of the log of the number of classes. `plateau` halves the rate where '
          'the training loss does not fall. Differences are to `base` on the same series (of '
          'the same architecture where there is one), means over sets ± standard errors; *steps* is a multiple of those of '
          '`base`. Plain accuracies are means over different sets: compare the differences. There are few runs, and one or two '
          'series decide most of these differences.')

def search_table():
    "What the search of the recipe measured, on series of training splits that were held back"
    rows = pd.DataFrame(read_rows(RESULTS/'recipe_search.csv'))
    if not len(rows): return None
    figures = ['accuracy', 'log_loss', 'train_accuracy', 'steps']
    rows[figures] = rows[figures].apply(pd.to_numeric)
    by_run, out = rows.drop_duplicates(['config', 'dataset', 'seed']).set_index(['config', 'dataset', 'seed'])[figures], []
    for c in rows.config.unique():
        own = f'{c.split()[0]} base'    # of the same architecture
        mine, base = by_run.loc[c], by_run.loc[own if own in by_run.index else 'base']
        both = mine.index.intersection(base.index)      # the same series to train on
        by_set = (mine.loc[both] - base.loc[both]).groupby('dataset').mean()
        d, se, m = by_set.mean(), by_set.sem(), mine.groupby('dataset').mean().mean()
        steps = (mine.loc[both].steps/base.loc[both].steps).mean()
        out.append(dict(settings=c, sets=len(by_set), runs=len(mine), steps=f'{steps:.1f}' if steps == steps else '',
                        **{'on its own series': f'{m.train_accuracy*100:.1f}' if m.train_accuracy == m.train_accuracy else ''},
                        accuracy=f'{m.accuracy*100:.2f}', **{'against base there': f'{d.accuracy*100:+.2f} ± {se.accuracy*100:.2f}'},
                        **{'log loss': f'{m.log_loss:.3f}', 'against base': f'{d.log_loss:+.3f} ± {se.log_loss:.3f}'}))
    return pd.DataFrame(out)

BY_FIT = ('What 1,500 steps instead of those of 150 epochs change, by how well the shorter training fits its own series: its '
          'training loss in the last epoch, as a share of the log of the number of classes, which is the loss of guessing. The '
          'bands were chosen after the fact, and the highest holds FCN and XceptionTime alone: InceptionTime fitted every sample.')

def search_by_fit():
    "Where more steps helped in the search of the recipe, by the training loss without them; None without such rows"
    rows = pd.DataFrame(read_rows(RESULTS/'recipe_search.csv'))
    if not len(rows): return None
    longer = rows[rows.config.str.fullmatch(r'(\w+ )?s1500')].assign(config=lambda d: d.config.str.replace('s1500', 'base'))
    d = longer.merge(rows, on=['config', 'dataset', 'seed'], suffixes=('', '_base'))
    d = d[d.train_loss_base.ne('')]
    if not len(d): return None
    number = lambda k: pd.to_numeric(d[k])
    share = number('train_loss_base')/np.log(number('classes'))
    change = pd.DataFrame(dict(accuracy=100*(number('accuracy') - number('accuracy_base')),
                               loss=number('log_loss') - number('log_loss_base')))
    bands = change.groupby(pd.cut(share, [0, .03, .2, np.inf], labels=['below 3 %', '3 % to 20 %', 'above 20 %']), observed=True)
    return pd.DataFrame([{'training loss': k, 'runs': len(g), 'accuracy': f'{g.accuracy.mean():+.1f} ± {g.accuracy.sem():.1f}',
                          'better, worse': f'{(g.accuracy > 0).sum()}, {(g.accuracy < 0).sum()}',
                          'log loss': f'{g.loss.mean():+.2f} ± {g.loss.sem():.2f}',
                          'better, worse there': f'{(g.loss < 0).sum()}, {(g.loss > 0).sum()}'} for k, g in bands])

def bars(s): # s: datasets × methods
    "What the bars of a diagram mean, and what they cannot say"
    from scipy.stats import wilcoxon
    pairs, least = s.shape[1]*(s.shape[1] - 1)//2, wilcoxon(np.arange(1, len(s) + 1), zero_method='pratt', method='approx').pvalue
    said = 'Bars join models that Wilcoxon\'s signed-rank test with Holm\'s correction does not tell apart at the level 0.05.'
    if least <= .05/pairs: return said
    return (f'{said} With {len(s)} data sets and {pairs} pairs it could tell none apart: even a model that is better on every set has '
            f'p = {least:.2g}, and the first pair needs {.05/pairs:.2g}. Read the ranks as a description.')

def render(out=RESULTS):
    "Write the table and the diagrams; the text of the page comes from the docs"
    write_ensembles()
    rows = measured()
    parts = [HEAD, '## Means over data sets', to_markdown(means(), index=False)]
    uni = [m for m in PUBLISHED if m in set(rows.model)]
    diagrams = dict(univariate=compared([m for m in uni if {*GROUPS['telling']} <= {*rows[rows.model == m].dataset}],
                                        datasets=GROUPS['univariate']))
    for name, s in diagrams.items():
        if len(s) > 4 and s.shape[1] > 2:
            cd_diagram(s, out/f'accuracy_{name}.svg', 'Mean rank')
            picture = f"![Mean ranks of tsfast's models and of published methods over {len(s)} data sets](accuracy_{name}.svg)"
            parts += ['## Critical differences', picture, bars(s), f'Over: {", ".join(s.index)}.']
    fixed = [m for m in uni if m.endswith('+ ridge') or m == 'TSForestClassifier']
    parts += ['## Every data set: networks', to_markdown(table([m for m in uni if m not in fixed])),
              '## Every data set: fixed features', to_markdown(table(fixed)), '## Architectures without a published figure here',
              to_markdown(table(sorted(set(rows.model) - set(PUBLISHED)))) if set(rows.model) - set(PUBLISHED) else 'None yet.',
              '## Not measured yet', to_markdown(missing(), index=False)]
    if (s := search_table()) is not None: parts += ['## The search for the recipe', SEARCH, to_markdown(s, index=False)]
    if (s := search_by_fit()) is not None: parts += [BY_FIT, to_markdown(s, index=False)]
    (out/'accuracy.md').write_text('\n\n'.join(parts) + '\n', encoding='utf-8')
    return out/'accuracy.md'
