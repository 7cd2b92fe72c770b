//! A line that says what is going on, while it does.

use std::{borrow::Cow, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

/// Whatever is over sooner needs no progress.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);

/// What is going on. Dropping the last of its clones clears the line.
#[derive(Clone)]
pub struct Progress(Arc<Line>);

struct Line {
    bar: ProgressBar,
    appearing: Option<JoinHandle<()>>,
}

impl Progress {
    pub(super) fn start(doing: String, visible: bool) -> Self {
        let bar = ProgressBar::hidden();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(doing);
        let appearing = visible.then(|| {
            let bar = bar.clone();
            tokio::spawn(async move {
                tokio::time::sleep(PATIENCE).await;
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(TICK);
            })
        });
        Self(Arc::new(Line { bar, appearing }))
    }

    /// Says how far it is.
    pub fn say(&self, doing: impl Into<Cow<'static, str>>) {
        self.0.bar.set_message(doing);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(appearing) = &self.appearing {
            appearing.abort();
        }
        self.bar.finish_and_clear();
    }
}
