//! Bars for who waits. On standard error, and only if that is a terminal.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bars of a run.
pub(super) struct Progress {
    bars: MultiProgress,
}

impl Progress {
    /// Shows nothing where only a program looks.
    pub(super) fn new(silent: bool) -> Self {
        let target =
            if silent { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Progress { bars: MultiProgress::with_draw_target(target) }
    }

    /// A bar up to `total`.
    pub(super) fn bar(&self, name: &str, total: usize) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(total as u64));
        // A template of our own that doesn't parse would show the default bar.
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:14} [{bar:40}] {pos}/{len} {elapsed} {msg}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name.to_owned());
        bar
    }

    /// Leaves the terminal as it was.
    pub(super) fn finish(&self) {
        let _ = self.bars.clear();
    }
}
