//! HTTP/2: several clients on one connection.

use super::{Pace, Plan, Question, Shared, wire};
use bytes::Bytes;
use h2::client::SendRequest;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;

/// One connection after the other, each until one of its clients fails.
pub(super) async fn run(shared: Arc<Shared>, connection: usize) {
    let proxy = shared.plan.proxy(connection);
    let first = shared.plan.kept + shared.plan.short + connection * shared.plan.http2.1;
    while shared.goes_on() {
        let sender = match connect(&shared.plan, proxy).await {
            Ok(sender) => sender,
            Err(reason) => {
                let question = shared.question();
                shared.note(&question, async { Err(reason) }).await;
                continue;
            }
        };
        let mut clients = JoinSet::new();
        for client in 0..shared.plan.http2.1 {
            clients.spawn(client_on(shared.clone(), sender.clone(), Pace::new(&shared.plan, first + client)));
        }
        drop(sender);
        while clients.join_next().await.is_some() {}
    }
}

async fn connect(plan: &Plan, proxy: SocketAddr) -> Result<SendRequest<Bytes>, String> {
    let stream = wire::connect(plan, proxy, true).await?;
    let (sender, connection) =
        h2::client::handshake(stream).await.map_err(|error| format!("handshake: {error}"))?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn client_on(shared: Arc<Shared>, sender: SendRequest<Bytes>, mut pace: Pace) {
    while shared.goes_on() {
        pace.wait().await;
        // After GOAWAY nothing more is sent here.
        if shared.plan.reconnects && sender.clone().ready().await.is_err() {
            return;
        }
        let question = shared.question();
        let asked = ask(sender.clone(), &shared.plan, &question);
        let asked = async { asked.await.map_err(|error| format!("HTTP/2: {error}")) };
        if !shared.note(&question, asked).await {
            return;
        }
    }
}

async fn ask(
    sender: SendRequest<Bytes>,
    plan: &Plan,
    question: &Question,
) -> Result<(u16, Vec<u8>), h2::Error> {
    let mut sender = sender.ready().await?;
    let scheme = if plan.encrypted.is_some() { "https" } else { "http" };
    let request = http::Request::builder()
        .method(if question.is_post { "POST" } else { "GET" })
        .uri(format!("{scheme}://{}/shop/{}", plan.host, question.number))
        .header("x-request-number", question.number);
    let request =
        if question.is_post { request.header("content-length", question.body.len()) } else { request };
    let request = request.body(()).expect("a valid request");
    let (answer, mut body) = sender.send_request(request, !question.is_post)?;
    if question.is_post {
        // A few hundred bytes always fit into the first window.
        body.send_data(Bytes::copy_from_slice(&question.body), true)?;
    }
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut read = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        read.extend_from_slice(&chunk);
    }
    Ok((status, read))
}
