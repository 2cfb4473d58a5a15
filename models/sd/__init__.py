"""SD-BNN: binary networks whose activation thresholds are computed for every image."""
