"""Studies, plans, searches, workers, reports, command line and Python: the layer that decides which runs to execute."""

import warnings

# Optuna imports tqdm, which warns in every notebook whose environment has no ipywidgets; no bar of tqdm is shown
warnings.filterwarnings("ignore", message="IProgress not found")
