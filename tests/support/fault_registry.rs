//! A registry that misbehaves on demand: what a real one cannot be made to do.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use slipway::image_ref::ImageRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server on this machine whose answers a test writes; it keeps what it was asked.
pub struct FaultRegistry {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
    /// The first mebibyte of the body.
    pub body: Bytes,
    /// Bytes of the whole body.
    pub length: usize,
    /// How many requests came before.
    pub number: usize,
}

impl FaultRegistry {
    pub async fn start(answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), answer).await
    }

    /// On another address of this machine.
    pub async fn start_at(ip: IpAddr, answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (log, answer) = (seen.clone(), Arc::new(answer));
        let handle = move |request: Request| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let request = collect(request).await;
                let request = {
                    let mut log = log.lock().unwrap();
                    let request = Seen { number: log.len(), ..request };
                    log.push(request.clone());
                    request
                };
                answer(&request)
            }
        };
        let router = Router::new().fallback(handle);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, seen }
    }

    /// An image of this registry.
    pub fn image(&self, name: &str) -> ImageRef {
        format!("{}/{name}", self.address).parse().unwrap()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// `GET /v2/…` of each request, in order.
    pub fn calls(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect()
    }
}

/// An answer with headers and a body.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    headers.iter().fold(response, |response, (name, value)| response.header(*name, *value)).body(body.into()).unwrap()
}

/// An error as the distribution specification writes it.
pub fn refusal(status: u16, code: &str) -> Response<Body> {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"as the test wishes"}}]}}"#);
    answer(status, &[("content-type", "application/json")], body)
}

/// Passes bytes through to a real registry and cuts the first `cuts` connections that carry more than `after` bytes
/// towards it. Gives the address to use instead.
pub async fn cutting_proxy(target: String, after: usize, cuts: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let left = Arc::new(Mutex::new(cuts));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, target.clone(), after, left.clone()));
        }
    });
    address
}

async fn pass(client: TcpStream, target: String, after: usize, left: Arc<Mutex<usize>>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 64 << 10];
    let mut passed = 0;
    while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
        passed += count;
        if passed > after && take_one(&left) {
            break;
        }
        if to_server.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    back.abort();
}

fn take_one(left: &Mutex<usize>) -> bool {
    let mut left = left.lock().unwrap();
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

async fn collect(request: Request) -> Seen {
    let (parts, body) = request.into_parts();
    let (mut kept, mut length) = (Vec::new(), 0);
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        length += piece.len();
        kept.extend_from_slice(&piece[..piece.len().min((1 << 20) - kept.len())]);
    }
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    Seen {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        authorization: header("authorization"),
        range: header("range"),
        body: kept.into(),
        length,
        number: 0,
    }
}
