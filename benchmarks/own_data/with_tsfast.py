"The tasks with tsfast"
import sys

import pandas as pd
from tsfast.all import *


def windows(file):
    "Windows of the recordings in a table, labelled by their last step; validation on other subjects"
    dls = TSDataLoaders.from_csv(file, id='subject', time='time', y='activity', window=100, stride=50, label='last',
                                 batch_tfms=TSStandardize(by_var=True))
    learn = ts_learner(dls, FCN, metrics=accuracy)
    learn.fit_one_cycle(5, 1e-2)
    return learn


def recordings(folder):
    "A folder of recordings of unequal length; validation on other subjects"
    dls = TSDataLoaders.from_folder(folder, y='activity', group='subject',
                                    batch_tfms=[TSStandardize(by_var=True), TSNan2Value()])
    learn = ts_learner(dls, FCN, metrics=accuracy)
    learn.fit_one_cycle(5, 1e-2)
    return learn


def predict(learn, file):
    "The windows of a new recording, as a table"
    return learn.predict_windows(pd.read_csv(file))


if __name__ == '__main__':
    learn = windows(f'{sys.argv[1]}/gait.csv')
    print(predict(learn, f'{sys.argv[1]}/new.csv').head())
    recordings(f'{sys.argv[1]}/recordings')
