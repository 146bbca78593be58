//! A GitLab server as a runner sees it, with one job to give away (spec/executor.md 7).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{patch, post, put};
use serde_json::{Value, json};

#[derive(Clone, Default)]
pub struct Coordinator {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    job: Option<Value>,
    trace: Vec<u8>,
    /// What the runner said last about the job.
    update: Value,
    artifacts: usize,
    /// What every answer says the job's status is, from the moment that the trace has the text.
    cancel_at: Option<(String, &'static str)>,
}

impl Coordinator {
    /// Serves a job until the test ends.
    pub async fn serve(job: Value) -> (Self, SocketAddr) {
        let coordinator = Self::default();
        coordinator.lock().job = Some(job);
        let routes = Router::new()
            .route(
                "/api/v4/runners/verify",
                post(|| async { answer(StatusCode::OK, &json!({"id": 1, "token": "glrt-t"})) }),
            )
            .route("/api/v4/jobs/request", post(request))
            .route("/api/v4/jobs/{id}", put(update))
            .route("/api/v4/jobs/{id}/trace", patch(trace))
            .route("/api/v4/jobs/{id}/artifacts", post(artifacts))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(coordinator.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (coordinator, address)
    }

    /// Tells the runner this status once the job log has `text`: `canceling` for a user's cancel, `canceled` for a hard one.
    pub fn cancel_at(&self, text: &str, status: &'static str) {
        self.lock().cancel_at = Some((text.to_owned(), status));
    }

    pub fn trace(&self) -> String {
        String::from_utf8_lossy(&self.lock().trace).into_owned()
    }

    /// The last state of the job: `state`, `failure_reason`, `exit_code`.
    pub fn update(&self) -> BTreeMap<String, Value> {
        serde_json::from_value(self.lock().update.clone()).unwrap_or_default()
    }

    pub fn artifacts(&self) -> usize {
        self.lock().artifacts
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }
}

impl Shared {
    fn status(&self) -> &'static str {
        match &self.cancel_at {
            Some((text, status)) if String::from_utf8_lossy(&self.trace).contains(text.as_str()) => status,
            _ => "running",
        }
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [("Content-Type", "application/json")], body.to_string()).into_response()
}

async fn request(State(coordinator): State<Coordinator>) -> Response {
    match coordinator.lock().job.take() {
        Some(job) => answer(StatusCode::CREATED, &job),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn update(State(coordinator): State<Coordinator>, Path(_): Path<u64>, update: Bytes) -> Response {
    let mut shared = coordinator.lock();
    shared.update = serde_json::from_slice(&update).unwrap_or_default();
    (StatusCode::OK, [("Job-Status", shared.status())]).into_response()
}

async fn trace(
    State(coordinator): State<Coordinator>,
    headers: HeaderMap,
    Path(_): Path<u64>,
    part: Bytes,
) -> Response {
    let mut shared = coordinator.lock();
    let range = headers.get("Content-Range").and_then(|range| range.to_str().ok()).unwrap_or("0-0");
    let start: usize = range.split('-').next().unwrap().parse().unwrap();
    if start == shared.trace.len() {
        shared.trace.extend_from_slice(&part);
    }
    let status = if start > shared.trace.len() { StatusCode::RANGE_NOT_SATISFIABLE } else { StatusCode::ACCEPTED };
    let stored = format!("0-{}", shared.trace.len());
    let headers = [
        ("Job-Status", shared.status().to_owned()),
        ("Range", stored),
        ("X-GitLab-Trace-Update-Interval", "1".to_owned()),
    ];
    (status, headers).into_response()
}

async fn artifacts(State(coordinator): State<Coordinator>, Path(_): Path<u64>, _: Bytes) -> StatusCode {
    coordinator.lock().artifacts += 1;
    StatusCode::CREATED
}
