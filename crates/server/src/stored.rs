//! Looks at the stored documents that are read only when somebody asks for them, so that a damaged one
//! is reported soon after a start.

use engine::Engine;

use crate::problem::Problem;
use crate::{hooks, projects, triggers};

/// Reads all webhooks, triggers, status pages with their posts, and owners of projects. What is
/// damaged is among [`Engine::damaged_documents`] then.
///
/// # Errors
/// The store's.
pub async fn look_at_documents(engine: &Engine) -> Result<(), Problem> {
    hooks::look(engine).await?;
    triggers::public(engine).await?;
    engine.status_pages().await?;
    engine.status_posts("").await?;
    projects::look(engine).await
}
