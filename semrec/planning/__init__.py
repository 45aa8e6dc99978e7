"""Know before you pay: memory, minutes and money of a run, from a measurement on the device at hand and a price table."""

from semrec.planning.calibration import (
    CALIBRATION_VECTORS,
    Calibration,
    calibrate,
    read_calibration,
    write_calibration,
)
from semrec.planning.estimate import NODE_START_S, Estimate, Workload, estimate
from semrec.planning.plot import plot_curve
from semrec.planning.predict import predicted_s
from semrec.planning.prices import ACCELERATORS, Node, PriceTable, read_prices
from semrec.planning.rates import Rates, projected_rates, with_embedding
from semrec.planning.serving import (
    AVAILABILITY,
    USUAL_SERVICES,
    MeasuredService,
    ServingPlan,
    failures,
    lost_share,
    plan_serving,
    read_measured,
    read_soak,
    serving_limits,
    simulate_peak,
    simulate_soak,
)
from semrec.planning.simulate import DEVICE_COUNTS, Limit, curve, fastest_within, fewest_devices, limits
from semrec.plotting import check_plot_path

__all__ = [
    "ACCELERATORS",
    "AVAILABILITY",
    "CALIBRATION_VECTORS",
    "DEVICE_COUNTS",
    "NODE_START_S",
    "USUAL_SERVICES",
    "Calibration",
    "Estimate",
    "Limit",
    "MeasuredService",
    "Node",
    "PriceTable",
    "Rates",
    "ServingPlan",
    "Workload",
    "calibrate",
    "check_plot_path",
    "curve",
    "estimate",
    "failures",
    "fastest_within",
    "fewest_devices",
    "limits",
    "lost_share",
    "plan_serving",
    "plot_curve",
    "predicted_s",
    "projected_rates",
    "read_calibration",
    "read_measured",
    "read_prices",
    "read_soak",
    "serving_limits",
    "simulate_peak",
    "simulate_soak",
    "with_embedding",
    "write_calibration",
]
