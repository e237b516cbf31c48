//! The page over a gateway that is made up: it can have a thousand servers at once, say what no gateway says, and go away.

#![expect(clippy::disallowed_types, reason = "a browser comes over real sockets")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::page;

pub(crate) struct Site {
    addr: SocketAddr,
    runtime: Option<Runtime>,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    /// How often it was asked. Each time, this many seconds later have come by its own clock.
    asked: u64,
    status: Box<dyn Fn(u64) -> Value + Send>,
    posts: Vec<String>,
    answer: (StatusCode, Value),
}

type App = Arc<Mutex<Shared>>;

impl Site {
    /// `status(n)` is what it says when it is asked for the `n`th time, from 0.
    pub(crate) fn start(status: impl Fn(u64) -> Value + Send + 'static) -> Self {
        let answer = (StatusCode::OK, json!({}));
        let status = Box::new(status);
        let shared = Arc::new(Mutex::new(Shared { asked: 0, status, posts: Vec::new(), answer }));
        let mut site = Self { addr: ([127, 0, 0, 1], 0).into(), runtime: None, shared };
        site.begin();
        site
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// It is there again, at the same port.
    pub(crate) fn begin(&mut self) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(self.addr)).unwrap();
        self.addr = listener.local_addr().unwrap();
        let routes = page::routes()
            .route("/status", get(status))
            .route("/drain", post(note))
            .route("/sessions/{side}/{id}/close", post(note))
            .with_state(self.shared.clone());
        runtime.spawn(async { axum::serve(listener, Router::into_make_service(routes)).await });
        self.runtime = Some(runtime);
    }

    /// It is gone, and all connections with it.
    pub(crate) fn end(&mut self) {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(5));
    }

    pub(crate) fn say(&self, status: impl Fn(u64) -> Value + Send + 'static) {
        let mut shared = self.shared.lock();
        shared.asked = 0;
        shared.status = Box::new(status);
    }

    /// What it answers to whoever wants something done.
    pub(crate) fn answer(&self, code: StatusCode, body: Value) {
        self.shared.lock().answer = (code, body);
    }

    /// The paths of what was to be done.
    pub(crate) fn posts(&self) -> Vec<String> {
        self.shared.lock().posts.clone()
    }
}

async fn status(State(app): State<App>) -> Json<Value> {
    let mut shared = app.lock();
    let now = shared.asked;
    shared.asked += 1;
    Json((shared.status)(now))
}

async fn note(State(app): State<App>, uri: Uri) -> (StatusCode, Json<Value>) {
    let mut shared = app.lock();
    shared.posts.push(uri.path().to_owned());
    let (code, body) = shared.answer.clone();
    (code, Json(body))
}
