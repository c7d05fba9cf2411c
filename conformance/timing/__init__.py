"""From the times of single queries to what a latency declaration is worth: numbers in, decisions out.

The room measures nothing, and knows neither devices nor models: numpy arrays of int64 nanoseconds of one monotonic clock go
in. Whoever measures fills `Samples`; whoever judges calls `judge_latency` and, for the names of what is odd, `diagnose`.

    samples.py         three times of every query (due, issued, done), and the bytes as which they are kept
    percentiles.py     the binomial rule PASS / FAIL / open, the queries needed, intervals by order statistics, shares of error
    correlation.py     how many independent queries a run is worth
    judging.py         a result for every declared limit: percentiles, maximum, jitter, misses of a deadline
    diagnosis.py       one run: drift, throttling, warm-up, bimodality, autocorrelation, periodic spikes
    schedule.py        clock and generator: clock step, sampling gap, generator starved
    comparison.py      two runs: idle-gap effect, result cache, faster when watched
    early_stopping.py  MLPerf's early stopping, to be held against LoadGen's summary
    finding.py         what a diagnosis says

Two rules stand above all: too little data is *open*, with what is missing, never a pass; and every PASS and every FAIL is
wrong in at most one run of a hundred at the very limit, also where slow queries come in clusters. That is shown on runs with
known truth by `benchmarks/timing_judges.py`.

What no sample shows is what hardly happened in it. The error of 1 % holds where a run has some ten of its clusters of slow
queries. With three or four of them, such as bursts of 30 that make up 5 % of 2,000 queries, a limit that is exactly reached was
passed in up to 7 % of the runs: some had no burst at all. Hence certifying runs of 600 s; a fault that comes once a day needs days.
"""
