//! `flipgate secret`: keys that seal, and what they seal. The forms are vulcand's.

use super::context::{Context, Exit};
use super::flags::TargetFlags;
use super::table::{count, table};
use super::target::{Committed, Target, objects};
use super::value::with;
use crate::model::{KeyPairSource, Object, ObjectKey, Strictness, edit};
use crate::store::{Area, Entry, Expected, LeaseChoice, Operation, Transaction};
use crate::tls::{Certificate, SealError, SealKeys, Sealed};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Make keys that seal certificates, and seal with them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate secret new-key -f seal.key
  flipgate secret seal --seal-key-file seal.key --cert cert.pem --key key.pem
  flipgate secret seal --seal-key-file seal.key --cert cert.pem --key key.pem --host |
       flipgate put host a.example -f -
  flipgate secret rotate --seal-key-file new.key --seal-key-file old.key --write

Keys and sealed pairs are vulcand's: what `vctl secret` makes is taken here, and the other way round.")]
pub(super) struct Secret {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Make a seal key: 64 hexadecimal digits
    NewKey {
        /// Write it to a new file that only its owner can read
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Seal a certificate and its private key with the first seal key
    Seal(Seal),
    /// Seal all stored key pairs that the first seal key has not sealed
    Rotate(Rotate),
}

#[derive(Debug, clap::Args)]
struct Seal {
    /// PEM file with the certificate and its chain
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// PEM file with the private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print the whole value of a host's key
    #[arg(long)]
    host: bool,
    /// Of the default host
    #[arg(long, requires = "host")]
    default: bool,
    /// Write to a new file that only its owner can read
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    target: TargetFlags,
}

#[derive(Debug, clap::Args)]
struct Rotate {
    /// Write what is shown
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    target: TargetFlags,
}

impl Secret {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        match self.act {
            Act::NewKey { file } => print(context, file.as_deref(), &SealKeys::new_key()?),
            Act::Seal(seal) => seal.run(context),
            Act::Rotate(rotate) => rotate.run(context).await,
        }
    }
}

/// To standard output, or to a file that must not be there yet: a key that is lost opens nothing any more.
fn print(context: &mut Context<'_, '_>, file: Option<&Path>, text: &str) -> anyhow::Result<Exit> {
    match file {
        None => context.say(text)?,
        Some(path) => {
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(path);
            let mut file = file.with_context(|| format!("{} cannot be made", path.display()))?;
            writeln!(file, "{text}")?;
        }
    }
    Ok(Exit::Done)
}

/// The keys that the settings name; without any there is nothing to do.
fn keys(context: &mut Context<'_, '_>, flags: &TargetFlags) -> anyhow::Result<SealKeys> {
    if flags.shows_seal_key() {
        context.note("warning: others on this machine can read --seal-key; --seal-key-file keeps it to you");
    }
    let keys = flags.seal_keys(context)?;
    if keys.is_empty() {
        bail!(SealError::NoKey);
    }
    Ok(keys)
}

impl Seal {
    fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let keys = keys(context, &self.target)?;
        let read = |path: &Path| -> anyhow::Result<Zeroizing<Vec<u8>>> {
            let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
            Ok(Zeroizing::new(bytes))
        };
        let (cert, key) = (read(&self.cert)?, read(&self.key)?);
        Certificate::from_pem(&cert, &key)?;
        let KeyPairSource::Sealed { val, nonce } = keys.seal_key_pair(&cert, &key)? else {
            bail!(SealError::CannotSeal);
        };
        let sealed = Sealed { val: val.to_vec(), nonce };
        let text = match self.host {
            true => host(&sealed, self.default),
            false => sealed.to_value(),
        };
        print(context, self.file.as_deref(), &text.to_string())
    }
}

/// The value of a host's key.
fn host(sealed: &Sealed, default: bool) -> Value {
    let settings = with(json!({ "Default": default }), "KeyPair", stored(sealed));
    json!({ "Settings": settings })
}

/// As vulcand keeps it in a field: the JSON text in base64.
fn stored(sealed: &Sealed) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(sealed.to_value().to_string())
}

/// What becomes of one key pair, a host's or a backend's.
enum Turn {
    /// The first key has sealed it.
    Kept,
    /// It is sealed anew.
    Sealed(&'static str, Sealed),
    /// No key opens it.
    Closed,
}

impl Rotate {
    async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let keys = keys(context, &self.target)?;
        let target = context.target(&self.target)?;
        if matches!(target, Target::Admin(_)) {
            bail!("the admin API gives no key pairs away: name the store with --store");
        }
        let (entries, _) = objects(target.list().await?);
        let (mut rows, mut transaction, mut closed) = (Vec::new(), Transaction::default(), 0);
        for (key, entry) in &entries {
            let Some(source) = pair(key, entry) else { continue };
            let what = match turn(&source, &keys)? {
                Turn::Kept => "sealed with the first key already",
                Turn::Closed => {
                    closed += 1;
                    "stays: none of the keys opens it"
                }
                Turn::Sealed(what, sealed) => {
                    let mut value: Value = serde_json::from_slice(&entry.value)?;
                    let field = key.key_pair_field().unwrap_or("Settings.KeyPair");
                    edit::set_path(&mut value, field, stored(&sealed).into())
                        .map_err(|error| anyhow::anyhow!("{key}: {error}"))?;
                    let expected = Expected::Version(entry.version);
                    transaction.expect.push((Area::Routing, entry.key.clone(), expected));
                    transaction.operations.push(Operation::Put {
                        area: Area::Routing,
                        key: entry.key.clone(),
                        value: value.to_string().into(),
                        lease: LeaseChoice::Keep,
                    });
                    what
                }
            };
            rows.push([key.kind().to_string(), key.id(), what.to_owned()]);
        }
        let pairs = count(transaction.operations.len(), "key pair");
        if !rows.is_empty() {
            context.say(table(["KIND", "ID", "KEY PAIR"], rows))?;
        }
        if transaction.operations.is_empty() {
            context.note("there is nothing to seal anew");
        } else if !self.write {
            context.note(format_args!("{pairs} to seal anew; nothing was written (--write does it)"));
        } else {
            let revision = commit(&target, transaction).await?;
            context.note(format_args!("{pairs} sealed anew, the last at revision {revision}"));
        }
        Ok(if closed == 0 { Exit::Done } else { Exit::No })
    }
}

/// One after the other where a store does not take all at once: each is whole by itself.
async fn commit(target: &Target, all: Transaction) -> anyhow::Result<crate::model::Revision> {
    let mut revision = crate::model::Revision::default();
    let mut both = all.expect.into_iter().zip(all.operations).peekable();
    while both.peek().is_some() {
        let (expect, operations) = both.by_ref().take(target.operations_max()).unzip();
        match target.commit(Transaction { expect, operations }).await? {
            Committed::At(at) => revision = at,
            Committed::Conflict(message) => bail!("{message}; run it again"),
        }
    }
    Ok(revision)
}

fn pair(key: &ObjectKey, entry: &Entry) -> Option<KeyPairSource> {
    Object::parse(key, &entry.value, Strictness::Stored).object?.key_pair().cloned()
}

fn turn(source: &KeyPairSource, keys: &SealKeys) -> anyhow::Result<Turn> {
    Ok(match source {
        KeyPairSource::Files { .. } => Turn::Kept,
        KeyPairSource::Plain { cert, key } => match keys.seal_key_pair(cert, key)? {
            KeyPairSource::Sealed { val, nonce } => {
                Turn::Sealed("was plain, to be sealed", Sealed { val: val.to_vec(), nonce })
            }
            _ => Turn::Closed,
        },
        KeyPairSource::Sealed { val, nonce } if keys.first().open(val, nonce).is_ok() => Turn::Kept,
        KeyPairSource::Sealed { val, nonce } => match keys.seal_again(val, nonce) {
            Ok(sealed) => Turn::Sealed("was sealed with another key", sealed),
            Err(_) => Turn::Closed,
        },
    })
}
