//! A JSON-RPC client for L1.
//!
//! What comes back is checked as far as one node's word can be: sizes and times are bounded, a header's hash is computed from its fields, and
//! an answer belongs to what was asked for. The URL may hold a key: nothing here prints more of it than host and port.
//!
//! A request that fails below JSON-RPC (no connection, a timeout, an answer that broke off, HTTP 429, 502, 503 or 504) is repeated
//! [`L1Config::retries`] times with a growing delay. All methods may be repeated: sending a transaction twice is sending it once.

use crate::{
    Error,
    http::{self, describe, printable},
};
use alloy_consensus::{Header, Sealed};
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, TxHash, U64, U256, hex};
use alloy_rpc_types_eth::{
    FeeHistory, Filter, FilterBlockOption, Log, Transaction, TransactionReceipt, TransactionRequest,
};
use reqwest::{Client, StatusCode, Url, header::CONTENT_TYPE, redirect};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A header and its hash, which was computed from its fields.
pub type SealedHeader = Sealed<Header>;

/// Parameters of a method that takes none.
const NO_PARAMS: [(); 0] = [];
/// Blocks asked for logs at once where a node refuses more.
const WINDOW: u64 = 10_000;
/// Most blocks of a fee history, as execution-apis has it.
const MAX_FEE_HISTORY: u64 = 1024;

/// How patient the client is.
#[derive(Clone, Copy, Debug)]
pub struct L1Config {
    /// For a connection.
    pub connect_timeout: Duration,
    /// For one attempt, connection and answer included.
    pub timeout: Duration,
    /// Further attempts after the first.
    pub retries: u32,
    /// Before the first further attempt; doubled before each after that.
    pub backoff: Duration,
    /// Most bytes of an answer.
    pub max_answer: usize,
}

impl Default for L1Config {
    /// 5 s to connect, 30 s an attempt, 3 further ones after 250 ms and more, 64 MiB.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            retries: 3,
            backoff: Duration::from_millis(250),
            max_answer: 64 << 20,
        }
    }
}

/// A client of one L1 node. Clones share its connections.
#[derive(Clone)]
pub struct L1(Arc<Inner>);

struct Inner {
    client: Client,
    url: Url,
    host: String,
    config: L1Config,
    next_id: AtomicU64,
}

impl fmt::Debug for L1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("L1").field("host", &self.0.host).finish_non_exhaustive()
    }
}

impl L1 {
    /// A client of the node at `url`, with [`L1Config::default`]. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::with_config(url, L1Config::default())
    }

    /// A client of the node at `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn with_config(url: &str, config: L1Config) -> Result<Self, Error> {
        // A parser's error could show a part of the URL.
        let url = Url::parse(url.trim()).map_err(|_| Error::Url("it does not parse"))?;
        match url.scheme() {
            "http" => {}
            "https" => http::no_tls().map_or(Ok(()), |why| Err(Error::Url(why)))?,
            _ => return Err(Error::Url("it does not start with http:// or https://")),
        }
        let Some(host) = url.host_str() else { return Err(Error::Url("it names no host")) };
        let host = url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let client = http::client()
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            // A redirect would take user info and the question elsewhere.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|_| Error::Url("no HTTP client can be made for it"))?;
        Ok(Self(Arc::new(Inner { client, url, host, config, next_id: AtomicU64::new(1) })))
    }

    /// Host and port of the node: what may be shown of its URL.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// Asks `method` with `params`: a tuple or an array, `[(); 0]` for none.
    ///
    /// # Errors
    /// Any but [`Error::Url`] and [`Error::HeaderHash`].
    pub async fn request<R: DeserializeOwned>(&self, method: &str, params: impl Serialize) -> Result<R, Error> {
        let inner = &*self.0;
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let body = serde_json::to_vec(&Question { jsonrpc: "2.0", id, method, params })
            .map_err(|error| malformed(method, format_args!("the question: {error}")))?;
        let body = Bytes::from(body);
        let mut delay = inner.config.backoff;
        let mut attempt = 0;
        loop {
            let failure = match self.attempt(method, id, body.clone()).await {
                Attempt::Answer(answer) => return answer,
                Attempt::Failure(failure) => failure,
            };
            if attempt == inner.config.retries {
                return Err(failure);
            }
            attempt += 1;
            tokio::time::sleep(delay).await;
            delay = delay.saturating_mul(2);
        }
    }

    /// One attempt: an answer, or a failure that another attempt may mend.
    async fn attempt<R: DeserializeOwned>(&self, method: &str, id: u64, body: Bytes) -> Attempt<R> {
        let inner = &*self.0;
        let transport = |error: reqwest::Error| Error::Transport {
            method: method.to_owned(),
            host: inner.host.clone(),
            reason: describe(&error.without_url()),
        };
        let request = inner.client.post(inner.url.clone()).header(CONTENT_TYPE, "application/json").body(body.0);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Attempt::Failure(transport(error)),
        };
        let status = response.status();
        let limit = inner.config.max_answer;
        let too_large = || Attempt::Answer(Err(Error::TooLarge { method: method.to_owned(), limit }));
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return too_large();
        }
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if chunk.len() > limit - bytes.len() => return too_large(),
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Attempt::Failure(transport(error)),
            }
        }
        if status.is_success() {
            return Attempt::Answer(read_answer(method, id, &bytes));
        }
        // Some nodes give their errors with a status of failure.
        if let Err(error @ Error::Rpc { .. }) = read_answer::<R>(method, id, &bytes) {
            return Attempt::Answer(Err(error));
        }
        let failure =
            Error::HttpStatus { method: method.to_owned(), host: inner.host.clone(), status: status.as_u16() };
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Attempt::Failure(failure),
            _ => Attempt::Answer(Err(failure)),
        }
    }

    /// `eth_chainId`.
    ///
    /// # Errors
    /// As [`request`](Self::request), here and below.
    pub async fn chain_id(&self) -> Result<u64, Error> {
        self.number("eth_chainId", NO_PARAMS).await
    }

    /// `eth_blockNumber`.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn block_number(&self) -> Result<u64, Error> {
        self.number("eth_blockNumber", NO_PARAMS).await
    }

    /// The header with a number, tag or hash, if the node has it. Its hash is computed from its fields, and agrees with the node's and with the one asked for.
    ///
    /// # Errors
    /// [`Error::HeaderHash`], or as [`request`](Self::request).
    pub async fn header(&self, block: impl Into<BlockId>) -> Result<Option<SealedHeader>, Error> {
        let block = block.into();
        let (method, answer): (_, Option<alloy_rpc_types_eth::Header>) = match block {
            BlockId::Hash(hash) => {
                let method = "eth_getBlockByHash";
                (method, self.request(method, (hash.block_hash, false)).await?)
            }
            BlockId::Number(number) => {
                let method = "eth_getBlockByNumber";
                (method, self.request(method, (number, false)).await?)
            }
        };
        let Some(answer) = answer else { return Ok(None) };
        let header = SealedHeader::new(answer.inner);
        let computed = header.hash();
        if answer.hash != computed {
            return Err(Error::HeaderHash { claimed: answer.hash, computed });
        }
        if let Some(claimed) = block.as_block_hash().filter(|hash| *hash != computed) {
            return Err(Error::HeaderHash { claimed, computed });
        }
        match block.as_u64() {
            Some(asked) if asked != header.number => {
                Err(malformed(method, format_args!("block {} instead of {asked}", header.number)))
            }
            _ => Ok(Some(header)),
        }
    }

    /// `eth_getLogs`. Every log is in a block and matches the filter's addresses, first topic and range.
    ///
    /// # Errors
    /// As [`request`](Self::request). Nodes refuse ranges that are too long or have too many logs in their own words: ask for less.
    pub async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, Error> {
        let method = "eth_getLogs";
        let logs: Vec<Log> = self.request(method, (filter,)).await?;
        for log in &logs {
            let (Some(number), Some(hash), Some(_)) = (log.block_number, log.block_hash, log.log_index) else {
                return Err(malformed(method, "a log is in no block"));
            };
            let inside = match filter.block_option {
                FilterBlockOption::AtBlockHash(asked) => hash == asked,
                FilterBlockOption::Range { from_block, to_block } => {
                    let from = from_block.and_then(|from| from.as_number()).unwrap_or(0);
                    let to = to_block.and_then(|to| to.as_number()).unwrap_or(u64::MAX);
                    (from..=to).contains(&number)
                }
            };
            let address = filter.address.is_empty() || filter.address.contains(&log.address());
            let topic =
                filter.topics[0].is_empty() || log.topic0().is_some_and(|first| filter.topics[0].contains(first));
            if log.removed || !inside || !address || !topic {
                return Err(malformed(method, "a log was not asked for"));
            }
        }
        Ok(logs)
    }

    /// The logs of a range of any length: at once, or in windows where the node refuses that.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub async fn logs_between(&self, filter: &Filter, first: u64, last: u64) -> Result<Vec<Log>, Error> {
        match self.logs(&filter.clone().from_block(first).to_block(last)).await {
            Err(Error::Rpc { .. } | Error::TooLarge { .. }) => {}
            other => return other,
        }
        let mut logs = Vec::new();
        let mut from = first;
        while from <= last {
            let to = from.saturating_add(WINDOW - 1).min(last);
            logs.extend(self.logs(&filter.clone().from_block(from).to_block(to)).await?);
            from = to + 1;
        }
        Ok(logs)
    }

    /// The receipt of the transaction with `hash`, if it is in a block.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn receipt(&self, hash: TxHash) -> Result<Option<TransactionReceipt>, Error> {
        let method = "eth_getTransactionReceipt";
        let receipt: Option<TransactionReceipt> = self.request(method, (hash,)).await?;
        if let Some(receipt) = &receipt {
            if receipt.transaction_hash != hash {
                return Err(malformed(method, "another transaction's receipt"));
            }
            if receipt.block_hash.is_none() || receipt.block_number.is_none() {
                return Err(malformed(method, "a receipt without a block"));
            }
        }
        Ok(receipt)
    }

    /// The transaction with `hash`, in a block or waiting, if the node knows it.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn transaction(&self, hash: TxHash) -> Result<Option<Transaction>, Error> {
        let method = "eth_getTransactionByHash";
        let transaction: Option<Transaction> = self.request(method, (hash,)).await?;
        if transaction.as_ref().is_some_and(|transaction| *transaction.inner.hash() != hash) {
            return Err(malformed(method, "another transaction"));
        }
        Ok(transaction)
    }

    /// What a call of `to` with `data` returns in the state after `block`.
    ///
    /// # Errors
    /// As [`request`](Self::request); [`Error::Rpc`] with data if it reverts.
    pub async fn call(&self, to: Address, data: Bytes, block: impl Into<BlockId>) -> Result<Bytes, Error> {
        let request = TransactionRequest::default().to(to).input(data.into());
        self.call_request(&request, block).await
    }

    /// What a whole transaction would return in the state after `block`: sender, value, blobs and fees as they are stated.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_request(&self, request: &TransactionRequest, block: impl Into<BlockId>) -> Result<Bytes, Error> {
        self.request("eth_call", (request, state_of(block))).await
    }

    /// The code of `address` after `block`.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn code(&self, address: Address, block: impl Into<BlockId>) -> Result<Bytes, Error> {
        self.request("eth_getCode", (address, state_of(block))).await
    }

    /// The word in `slot` of `address` after `block`.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn storage(&self, address: Address, slot: U256, block: impl Into<BlockId>) -> Result<B256, Error> {
        let word: U256 = self.request("eth_getStorageAt", (address, slot, state_of(block))).await?;
        Ok(word.into())
    }

    /// The balance of `address` after `block`, in wei.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn balance(&self, address: Address, block: impl Into<BlockId>) -> Result<U256, Error> {
        self.request("eth_getBalance", (address, state_of(block))).await
    }

    /// How many transactions `address` has sent up to `block`; with the pending tag the ones that wait included.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn nonce(&self, address: Address, block: impl Into<BlockId>) -> Result<u64, Error> {
        self.number("eth_getTransactionCount", (address, state_of(block))).await
    }

    /// The gas limit with which a transaction succeeds on the head.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn estimate_gas(&self, request: &TransactionRequest) -> Result<u64, Error> {
        self.number("eth_estimateGas", (request,)).await
    }

    /// Base fees, blob base fees and use of `blocks` blocks up to `newest`, both fees of the block after it included, and tips at `percentiles`.
    /// At most 1,024 blocks; nodes may give fewer.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn fee_history(
        &self,
        blocks: u64,
        newest: BlockNumberOrTag,
        percentiles: &[f64],
    ) -> Result<FeeHistory, Error> {
        let method = "eth_feeHistory";
        let blocks = blocks.min(MAX_FEE_HISTORY);
        let history: FeeHistory = self.request(method, (U64::from(blocks), newest, percentiles)).await?;
        let most = blocks as usize + 1;
        if history.base_fee_per_gas.len() > most || history.base_fee_per_blob_gas.len() > most {
            return Err(malformed(method, "more blocks than asked for"));
        }
        Ok(history)
    }

    /// The blob base fee of the next block, in wei per blob gas.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn blob_base_fee(&self) -> Result<u128, Error> {
        self.wei("eth_blobBaseFee").await
    }

    /// The node's gas price, in wei per gas.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn gas_price(&self) -> Result<u128, Error> {
        self.wei("eth_gasPrice").await
    }

    /// The node's tip, in wei per gas.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn priority_fee(&self) -> Result<u128, Error> {
        self.wei("eth_maxPriorityFeePerGas").await
    }

    /// Sends a signed transaction in its EIP-2718 encoding, a blob transaction in its network form. Its hash, as the node says.
    ///
    /// # Errors
    /// As [`request`](Self::request). After [`Error::Transport`] the node may have taken it.
    pub async fn send_raw(&self, transaction: &[u8]) -> Result<TxHash, Error> {
        self.request("eth_sendRawTransaction", (hex::encode_prefixed(transaction),)).await
    }

    async fn number(&self, method: &str, params: impl Serialize) -> Result<u64, Error> {
        let number: U256 = self.request(method, params).await?;
        number.try_into().map_err(|_| malformed(method, "the number is above 2^64 - 1"))
    }

    async fn wei(&self, method: &str) -> Result<u128, Error> {
        let number: U256 = self.request(method, NO_PARAMS).await?;
        number.try_into().map_err(|_| malformed(method, "the number is above 2^128 - 1"))
    }
}

/// A hash as EIP-1898 has it, an object: not every node takes the hash alone.
fn state_of(block: impl Into<BlockId>) -> BlockId {
    match block.into() {
        BlockId::Hash(mut hash) => {
            hash.require_canonical.get_or_insert(false);
            hash.into()
        }
        number => number,
    }
}

enum Attempt<R> {
    Answer(Result<R, Error>),
    Failure(Error),
}

#[derive(Serialize)]
struct Question<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: P,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    id: Option<u64>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<serde_json::Value>,
}

/// A result that is null is a result.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn read_answer<R: DeserializeOwned>(method: &str, id: u64, bytes: &[u8]) -> Result<R, Error> {
    let answer: Answer<'_> = serde_json::from_slice(bytes).map_err(|error| malformed(method, error))?;
    if let Some(error) = answer.error {
        let refusal: Refusal = serde_json::from_str(error.get()).map_err(|error| malformed(method, error))?;
        // The bytes themselves, or in an object: both are in use.
        let data = refusal.data.as_ref().and_then(|data| data.as_str().or_else(|| data.get("data")?.as_str()));
        return Err(Error::Rpc {
            method: method.to_owned(),
            code: refusal.code,
            message: printable(&refusal.message),
            data: data.and_then(|data| hex::decode(data).ok()).map(Bytes::from),
        });
    }
    if answer.id != Some(id) {
        return Err(malformed(method, "another question's answer"));
    }
    let Some(result) = answer.result else { return Err(malformed(method, "neither a result nor an error")) };
    serde_json::from_str(result.get()).map_err(|error| malformed(method, error))
}

fn malformed(method: &str, reason: impl fmt::Display) -> Error {
    Error::Malformed { method: method.to_owned(), reason: printable(&reason.to_string()) }
}

#[cfg(test)]
#[path = "l1_tests.rs"]
mod tests;
