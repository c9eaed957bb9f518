//! Paths and what they answer.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::routing::get;
use hyper::body::Bytes;
use tokio::sync::Semaphore;

use super::access::passwords::{Outcome, Passwords};
use super::answer::{HTML, JSON, Parts, TEXT, answer, error};
use super::answer_cache::{AnswerCache, json};
use super::{Config, host, query};
use crate::output::filter::{Sort, select};
use crate::output::metrics::own_text;
use crate::output::metrics::text::Format;
use crate::output::page;

/// Filtered reports being made or sent at once: each is a copy of its own.
const OWN_COPIES: usize = 16;

/// What all requests share.
pub struct Shared {
    cache: AnswerCache,
    copies: Arc<Semaphore>,
    telemetry_path: String,
    hosts: Vec<String>,
}

impl Shared {
    pub fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            cache: AnswerCache::new(Arc::clone(&config.snapshots)),
            copies: Arc::new(Semaphore::new(OWN_COPIES)),
            telemetry_path: config.telemetry_path.clone(),
            hosts: config.hosts.clone(),
        })
    }
}

#[derive(Clone)]
struct Context {
    shared: Arc<Shared>,
    details: bool,
}

/// For TCP clients: the Host header and the password are checked, details only where asked for.
pub fn public(shared: &Arc<Shared>, details: bool, passwords: Option<Arc<Passwords>>) -> Router {
    let checked = Arc::clone(shared);
    let routes = match passwords {
        Some(passwords) => routes(shared, details).layer(middleware::from_fn_with_state(passwords, check_password)),
        None => routes(shared, details),
    };
    routes.layer(middleware::from_fn_with_state(checked, check_host))
}

/// For the owner of the socket: everything.
pub fn owner(shared: &Arc<Shared>) -> Router {
    routes(shared, true)
}

fn routes(shared: &Arc<Shared>, details: bool) -> Router {
    Router::new()
        .route(&shared.telemetry_path, get(metrics))
        .route("/api/v1/leaks", get(leaks))
        .route("/api/v1/doctor", get(doctor))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/", get(page))
        .route("/page.css", get(page_style))
        .route("/page.js", get(page_script))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Context { shared: Arc::clone(shared), details })
}

async fn check_host(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response<Body> {
    match host::of_request(request.uri(), request.headers()) {
        Some(name) if host::allows(name, &shared.hosts) => next.run(request).await,
        _ => error(
            StatusCode::MISDIRECTED_REQUEST,
            "this host is not known by that name: use its address, or allow the name with --web.allowed-host",
        ),
    }
}

async fn check_password(State(passwords): State<Arc<Passwords>>, request: Request, next: Next) -> Response<Body> {
    match passwords.check(request.headers()).await {
        Outcome::Right => next.run(request).await,
        Outcome::Wrong => {
            let mut refused = error(StatusCode::UNAUTHORIZED, "name and password are wanted");
            refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"tlsclose\""));
            refused
        }
        Outcome::Busy => error(StatusCode::SERVICE_UNAVAILABLE, "too many passwords at once: try again"),
    }
}

async fn metrics(State(context): State<Context>, headers: HeaderMap) -> Response<Body> {
    let accepts: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::negotiate(&accepts.join(","));
    let rendered = context.shared.cache.newest();
    let parts = [rendered.metrics(format), own_text(format).into()];
    answer(StatusCode::OK, format.content_type(), Parts::new(parts))
}

async fn leaks(State(context): State<Context>, uri: Uri) -> Response<Body> {
    let wanted = match query::parse(&uri) {
        Ok(wanted) => wanted,
        Err(message) => return error(StatusCode::BAD_REQUEST, &message),
    };
    let rendered = context.shared.cache.newest();
    if wanted == query::LeaksQuery::default() {
        return answer(StatusCode::OK, JSON, rendered.report_json(context.details));
    }
    let Ok(permit) = Arc::clone(&context.shared.copies).try_acquire_owned() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once: try again");
    };
    let mut report = rendered.report(context.details).clone();
    select(&mut report, &wanted.filter, Sort::Count, wanted.limit);
    answer(StatusCode::OK, JSON, Parts::with_permit(json(&report), permit))
}

async fn doctor(State(context): State<Context>) -> Response<Body> {
    answer(StatusCode::OK, JSON, context.shared.cache.newest().doctor_json())
}

async fn healthz() -> Response<Body> {
    answer(StatusCode::OK, TEXT, Bytes::from_static(b"ok\n"))
}

async fn readyz(State(context): State<Context>) -> Response<Body> {
    match context.shared.cache.newest().snapshot.ready {
        true => answer(StatusCode::OK, TEXT, Bytes::from_static(b"ready\n")),
        false => error(StatusCode::SERVICE_UNAVAILABLE, "no census yet: try again in a few seconds"),
    }
}

async fn page(State(context): State<Context>) -> Response<Body> {
    let mut page = answer(StatusCode::OK, HTML, Bytes::from(page::html(&context.shared.telemetry_path)));
    page.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    page
}

async fn page_style() -> Response<Body> {
    answer(StatusCode::OK, "text/css; charset=utf-8", Bytes::from_static(page::STYLE.as_bytes()))
}

async fn page_script() -> Response<Body> {
    answer(StatusCode::OK, "text/javascript; charset=utf-8", Bytes::from_static(page::SCRIPT.as_bytes()))
}

async fn unknown() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "no such path: see /")
}

async fn wrong_method() -> Response<Body> {
    error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered")
}
