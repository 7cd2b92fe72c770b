//! What the cluster is asked while the agent is still on its way, which takes longer than the answer.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::task::JoinHandle;

use crate::cli::error::CommandError;

/// An answer that is older is asked for again: an image may have been pulled meanwhile.
const FRESH: Duration = Duration::from_secs(5);

/// A question under way. Dropping it takes it back.
pub(super) struct Ahead<T> {
    asked: Instant,
    answer: JoinHandle<T>,
    question: Box<dyn Fn() -> BoxFuture<'static, T> + Send + Sync>,
}

impl<T: Send + 'static> Ahead<T> {
    /// Asks. The question is put again where its answer is wanted too late.
    pub(super) fn ask<F>(question: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        Self {
            asked: Instant::now(),
            answer: tokio::spawn(question()),
            question: Box::new(move || Box::pin(question())),
        }
    }

    /// The answer; an error only when finding it panicked.
    pub(super) async fn get(mut self) -> Result<T, CommandError> {
        if self.asked.elapsed() < FRESH {
            return (&mut self.answer).await.map_err(CommandError::internal);
        }
        Ok((self.question)().await)
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    /// A question whose answer is how often it was put.
    fn counted() -> Ahead<u32> {
        let put = Arc::new(AtomicU32::new(0));
        Ahead::ask(move || {
            let put = Arc::clone(&put);
            async move { put.fetch_add(1, Ordering::Relaxed) + 1 }
        })
    }

    #[tokio::test]
    async fn a_question_whose_answer_is_wanted_soon_is_put_once() {
        assert_eq!(counted().get().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_is_wanted_late_is_asked_for_again() {
        let mut question = counted();
        while !question.answer.is_finished() {
            tokio::task::yield_now().await;
        }
        question.asked -= FRESH;
        assert_eq!(question.get().await.unwrap(), 2);
    }
}
