"""Where the experiments are that regenerate the papers' figures and tables."""

EXPERIMENTS = {
    "adding": "wavemem.wave_rnn.adding",
    "adding_compared": "wavemem.wave_rnn.adding",
    "adding_grid": "wavemem.wave_rnn.adding_search",
    "adding_search": "wavemem.wave_rnn.adding_search",
    "adding_starts": "wavemem.wave_rnn.adding_search",
    "bases": "wavemem.elman.bases",
    "copying": "wavemem.wave_rnn.copying",
    "copying_grid": "wavemem.wave_rnn.copying",
    "curricula": "wavemem.elman.curricula",
    "gradient_propagation": "wavemem.elman.gradient_propagation",
    "image_search": "wavemem.wave_rnn.images",
    "images": "wavemem.wave_rnn.images",
    "initialisations": "wavemem.elman.repeat_copy",
    "linear_learning": "wavemem.wave_rnn.linear_waves",
    "repeat_copy": "wavemem.elman.table1",
    "self_attention": "wavemem.elman.self_attention",
    "string_copying": "wavemem.ssm.string_copying",
    "string_spans": "wavemem.ssm.string_spans",
    "table1": "wavemem.elman.table1",
    "wave_learning": "wavemem.wave_rnn.wave_learning",
    "wide_repeat_copy": "wavemem.elman.repeat_copy",
}
"""Name → module. It is an experiment itself, or holds an `Experiment` of this name; see `wavemem.records.experiment`."""
