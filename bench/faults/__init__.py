"""Does anything get lost, or anybody wait, when what the product stands on fails? Real processes, one fault a scenario.

    sudo make faults
    .venv/bin/python -m bench.faults --only stopped --only kills --seconds 60 --json bench/out/faults.json

[deployment.py](deployment.py) is `up` as a person starts it, [material.py](material.py) what it takes in,
[tally.py](tally.py) what is counted over all scenarios; every other file is one scenario with a function `run`.
"""
