# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Results of a run
#
# Opens the newest run under `runs/`, or the one that the environment variable `HWNAS_RUN` names.
# Every table is a pandas DataFrame; every number has its source in the column `….source` beside it.

# %%
import os
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from IPython.display import display

import nas.results

pd.set_option("display.max_columns", 30)

configs = Path("runs").glob("*/config.resolved.yaml")
newest = max(configs, key=lambda path: path.stat().st_mtime, default=Path("runs/none")).parent
run = nas.results.open(os.environ.get("HWNAS_RUN", newest))

print(run.folder)
evaluated_by_user = run.last_stage == "search"
print(f"{len(run.trials('search'))} networks searched, {len(run.trials('front'))} verified")
display(pd.DataFrame(run.stages).T)

# %% [markdown]
# ## The front
#
# As the search knows it, by estimates or by what an evaluator of your own returned: networks that
# meet the run's constraints and that no other one beats in the run's objectives.

# %%
objectives = [objective.column for objective in run.config.objectives]
front = run.pareto()
display(front[[*objectives, *(f"{name}.source" for name in objectives), "choices"]])

# %% [markdown]
# Move over a point to see the network.

# %%
searched = run.trials("search")
searched["trial"] = searched.index
front["trial"] = front.index
y, x = [name for name in (*objectives, "macs", "trial") if name in searched][:2]
figure = go.Figure()
figure.add_scattergl(
    x=searched[x],
    y=searched[y],
    mode="markers",
    name="evaluated by the search",
    marker={"size": 4, "color": "#cbd2d9"},
    hoverinfo="skip",
)
figure.add_scatter(
    x=front[x],
    y=front[y],
    mode="lines+markers",
    name="front" if evaluated_by_user else "front, estimated",
    line={"color": "#2563a8", "dash": "dot"},
    text=[
        f"network {trial}<br>" + "<br>".join(f"{key}: {value}" for key, value in choices.items())
        for trial, choices in front["choices"].items()
    ],
    hoverinfo="text+x+y",
)
figure.update_layout(template="simple_white", xaxis_title=x, yaxis_title=y, height=520)
figure.show()

# %% [markdown]
# ## Asking for less
#
# Conditions compare columns with numbers, joined by `and`, `or` and brackets.

# %%
name = objectives[-1]
low, middle = searched[name].quantile([0.1, 0.5])
where = f"{name} > {low:.6g} and {name} < {middle:.6g}"
print(where)
display(run.pareto(where=where)[objectives])

# %% [markdown]
# ## Predicted and verified
#
# Networks of the front were verified at the end: end to end on the device (by its compiler where
# there is no device: `estimated`), and accuracy on images that the search has not seen. What an
# evaluator of your own returned needs no verification.

# %%
if not evaluated_by_user:
    verified = run.front()
    columns = [
        name
        for name in verified.columns
        if name.endswith((".predicted", ".measured", ".estimated"))
    ]
    display(verified[columns])
    error = pd.DataFrame(
        {
            name: (verified[f"{name}.predicted"] / verified[f"{name}.measured"] - 1).abs()
            for name in objectives
            if {f"{name}.predicted", f"{name}.measured"} <= set(verified)
        }
    )
    print("relative error of the estimates")
    display(error.agg(["mean", "max"]))

# %% [markdown]
# ## The accuracy predictor
#
# On sub-networks that were evaluated and that neither the predictor nor its baselines saw.

# %%
if not evaluated_by_user:
    display(run.predictor_report("accuracy"))
