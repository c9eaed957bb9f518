//! Answers: their headers, and bodies of a bounded size in all.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use hyper::body::Bytes;
use hyper::body::Frame;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

pub const JSON: &str = "application/json";
pub const TEXT: &str = "text/plain; charset=utf-8";
pub const HTML: &str = "text/html; charset=utf-8";

pub fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Parts>) -> Response<Body> {
    let mut response = Response::new(Body::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// One line of JSON, `{"error": "…"}`.
pub fn error(status: StatusCode, message: &str) -> Response<Body> {
    let line = format!("{}\n", json!({ "error": message }));
    answer(status, JSON, Bytes::from(line))
}

/// A body of ready parts. What was made for one client alone holds a permit until it is sent.
pub struct Parts {
    parts: VecDeque<Bytes>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Parts {
    pub fn new(parts: impl IntoIterator<Item = Bytes>) -> Self {
        Self { parts: parts.into_iter().filter(|part| !part.is_empty()).collect(), _permit: None }
    }

    pub fn with_permit(body: Bytes, permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: Some(permit), ..Self::new([body]) }
    }
}

impl From<Bytes> for Parts {
    fn from(body: Bytes) -> Self {
        Self::new([body])
    }
}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.parts.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        let bytes: usize = self.parts.iter().map(Bytes::len).sum();
        hyper::body::SizeHint::with_exact(bytes as u64)
    }
}
