"""Measures the model on the test part."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd

with tarfile.open("/opt/ml/processing/model/model.tar.gz") as tar:
    tar.extractall("/opt/ml/processing/model", filter="data")
model = json.loads(Path("/opt/ml/processing/model/model.json").read_text())
test = pd.read_csv("/opt/ml/processing/test/test.csv", header=None).to_numpy()
predicted = test[:, 1:] @ np.array(model["coefficients"]) + model["intercept"]
errors = (test[:, 0] - predicted) ** 2
report = {
    "regression_metrics": {"mse": {"value": errors.mean(), "standard_deviation": errors.std()}}
}
Path("/opt/ml/processing/evaluation/evaluation.json").write_text(json.dumps(report))
