//! Proving in zero knowledge on this machine: what is needed for it, and where that is. docs/proving.md is the guide.

use crate::deploy::runtime;
use clap::Parser as _;
use jove_settlement::deploy;
use jove_zk_host::{Backend, OpenVm, Pins, Progress};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// The program's name.
const PROGRAM: &str = "jove-zk";
/// The guest's image and its machine, in the repository: found where that is the current folder.
const GUEST: &str = "guests/image/batch.elf";
const VM: &str = "guests/openvm/openvm.toml";
/// What setup needs, and leaves.
const WANTS: &str = "setup takes about 20 minutes on two idle cores, 10 GiB of disk, and up to 22 GiB of memory, of which what is not free lies on disk";

/// The program and its folders.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Program {
    /// The program that proves in zero knowledge [default: jove-zk in the folder of keys, beside this one, or on the PATH]
    #[arg(long, env = "JOVE_ZK_PROGRAM", value_name = "FILE")]
    zk_program: Option<PathBuf>,
    /// The guest's image: an ELF file; the default is a file of the repository, where that is the current folder
    #[arg(long, env = "JOVE_ZK_GUEST", value_name = "FILE", default_value = GUEST)]
    zk_guest: PathBuf,
    /// The virtual machine that the guest is for; the default as above
    #[arg(long, env = "JOVE_ZK_VM", value_name = "FILE", default_value = VM)]
    zk_vm: PathBuf,
    /// Folder of keys, parameters and jobs [default: ~/.jove/zk]
    #[arg(long, env = "JOVE_ZK_KEYS", value_name = "DIR")]
    zk_keys: Option<PathBuf>,
    /// Memory for what is large, in GiB; more than that lies in a file [default: what is available less 2]
    #[arg(long, env = "JOVE_ZK_MEMORY", value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..))]
    zk_memory: Option<u32>,
    /// Memory of a segment of an execution, in GiB [default: 5]
    #[arg(long, env = "JOVE_ZK_SEGMENT_MEMORY", value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..))]
    zk_segment_memory: Option<u32>,
}

/// What is prepared, and with what.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Setup {
    #[command(flatten)]
    program: Program,
    /// A ceremony's parameters, kzg_bn254_23.srs; without them unsafe ones are made, which only chains for development take
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// The workspace zk: where it is, the program is built anew for this machine, unless --zk-program names one
    #[arg(long, value_name = "DIR", default_value = "zk")]
    source: PathBuf,
}

impl Program {
    /// As it is without options: by the environment, and else the defaults.
    ///
    /// # Errors
    /// In words, if a variable is not what it should be.
    pub(crate) fn by_environment() -> Result<Self, String> {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            program: Program,
        }
        Alone::try_parse_from([PROGRAM]).map(|alone| alone.program).map_err(|error| error.to_string())
    }

    /// The back end, if all is there that it needs.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn ready(&self) -> Result<OpenVm, String> {
        let backend = self.verifier()?;
        match backend.lacking() {
            None => Ok(backend),
            Some(what) => Err(format!("{what} is not there yet: `jove prover setup` makes it; {WANTS}")),
        }
    }

    /// The back end, to verify with: all that needs is the program.
    ///
    /// # Errors
    /// In words, if that is not there.
    pub(crate) fn verifier(&self) -> Result<OpenVm, String> {
        self.backend(self.found().ok_or(format!("there is no {PROGRAM}: `jove prover setup` builds it"))?)
    }

    fn backend(&self, program: PathBuf) -> Result<OpenVm, String> {
        let keys = self.folder().ok_or("where are the keys? --zk-keys")?;
        let Self { zk_guest, zk_vm, zk_memory, zk_segment_memory, .. } = self.clone();
        // Stages run in folders of their own.
        let absolute =
            |path: PathBuf| std::path::absolute(&path).map_err(|error| format!("{}: {error}", path.display()));
        let there = |path: PathBuf, option: &str| {
            let path = absolute(path)?;
            if path.is_file() {
                Ok(path)
            } else {
                Err(format!("there is no {}: {option} says where it is", path.display()))
            }
        };
        Ok(OpenVm {
            program: there(program, "--zk-program or JOVE_ZK_PROGRAM")?,
            guest: there(zk_guest, "--zk-guest or JOVE_ZK_GUEST")?,
            vm: there(zk_vm, "--zk-vm or JOVE_ZK_VM")?,
            keys: absolute(keys)?,
            memory: zk_memory,
            segment_memory: zk_segment_memory,
        })
    }

    /// The folder of keys.
    fn folder(&self) -> Option<PathBuf> {
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".jove/zk"));
        self.zk_keys.clone().or_else(home)
    }

    /// The program: as said, as setup left it, beside this one, or on the PATH.
    fn found(&self) -> Option<PathBuf> {
        if let Some(program) = &self.zk_program {
            return std::path::absolute(program).ok();
        }
        let set_up = self.folder().map(|keys| keys.join(PROGRAM));
        let beside = std::env::current_exe().ok().map(|jove| jove.with_file_name(PROGRAM));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|folder| folder.join(PROGRAM));
        let found = set_up.into_iter().chain(beside).chain(on_path).find(|place| place.is_file())?;
        std::path::absolute(found).ok()
    }
}

impl Setup {
    /// The program: as said; else of the source that is there, which may be newer than what was built before; else what is found.
    fn program(&self, build: impl FnOnce(&Path) -> Result<PathBuf, String>) -> Result<PathBuf, String> {
        if self.program.zk_program.is_some() || !self.source.join("Cargo.toml").is_file() {
            let none = || format!("there is no {PROGRAM}, and no source of it in {}: --source", self.source.display());
            return self.program.found().ok_or_else(none);
        }
        let program = self.program.folder().ok_or("where shall the keys be? --zk-keys")?.join(PROGRAM);
        install(&build(&self.source)?, &program).map_err(|error| format!("{}: {error}", program.display()))?;
        std::path::absolute(&program).map_err(|error| format!("{}: {error}", program.display()))
    }
}

/// Prepares this machine.
///
/// # Errors
/// In words.
#[allow(clippy::print_stdout)] // how far it is, is what it prints
pub(crate) fn setup(options: &Setup) -> Result<(), String> {
    println!("{WANTS}");
    let backend = options.program.backend(options.program(build)?)?;
    println!("program: {}", backend.program.display());
    println!("keys and parameters: {}", backend.keys.display());
    match backend.ceremony() {
        None if options.params.is_none() => println!(
            "without --params the parameters are unsafe: their secret is public, and production chains refuse them"
        ),
        None => {}
        Some(is_ceremony) => println!("there already: {}", parameters(is_ceremony)),
    }
    let said = Mutex::new(("", 0));
    let progress = |Progress { stage, percent, left }: Progress| {
        let Ok(mut said) = said.lock() else { return };
        if *said != (stage, percent) {
            *said = (stage, percent);
            println!(
                "{stage}: {percent} %{}",
                left.map(|left| format!(", {} s left", left.as_secs())).unwrap_or_default()
            );
        }
    };
    let done = runtime()?.block_on(backend.setup(options.params.as_deref(), &progress));
    done.map_err(|error| format!("{error}; the same command goes on from here"))?;
    let commitments = backend.commitments().map_err(|error| error.to_string())?;
    println!(
        "ready: program {:#x}, machine {:#x}; {}",
        commitments.program,
        commitments.vm,
        parameters(backend.ceremony() == Some(true))
    );
    Ok(())
}

/// Of whom the parameters are.
fn parameters(is_ceremony: bool) -> &'static str {
    match is_ceremony {
        true => "the parameters are the ceremony's",
        false => "the parameters are not the ceremony's: production chains refuse them",
    }
}

/// Puts the program where it is found whoever asks, whole or not at all.
fn install(built: &Path, program: &Path) -> std::io::Result<()> {
    let part = program.with_added_extension("part");
    if let Some(folder) = program.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(built, &part)?;
    std::fs::rename(part, program)
}

/// Builds the program for this machine's processor.
#[allow(clippy::print_stdout)] // as above
fn build(source: &Path) -> Result<PathBuf, String> {
    println!(
        "building {PROGRAM} for this machine: 480 crates, about ten minutes on two cores; nothing where it is built"
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(["build", "--release", "--locked"]).current_dir(source).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("cargo build in {}: {status}", source.display())),
        Err(error) => {
            return Err(format!(
                "cargo in {}: {error}; --source says where zk is, --zk-program what is built already",
                source.display()
            ));
        }
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| source.join("target"), PathBuf::from);
    let program = target.join("release").join(PROGRAM);
    std::path::absolute(&program).map_err(|error| format!("{}: {error}", program.display()))
}

/// What a verifier on L1 pins, of a folder that was prepared for the guest at hand.
///
/// # Errors
/// In words: also where it was prepared for another.
pub(crate) fn pins_of(keys: &Path) -> Result<deploy::Pins, String> {
    let program = Program { zk_keys: Some(keys.to_owned()), ..Program::by_environment()? };
    pins(&program.verifier()?)
}

/// What a verifier on L1 pins, of a back end whose commitments are there.
///
/// # Errors
/// In words.
pub(crate) fn pins(backend: &OpenVm) -> Result<deploy::Pins, String> {
    let Pins { program, machine, key } = backend.pins().map_err(|error| error.to_string())?;
    Ok(deploy::Pins { program, machine, key })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        setup: Setup,
    }

    #[test]
    fn setup_takes_the_program_of_the_source_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let setup = |options: &[&str]| {
            let (keys, source) = (at("keys"), at("zk"));
            let always = ["setup", "--zk-keys", keys.to_str().unwrap(), "--source", source.to_str().unwrap()];
            Alone::try_parse_from(always.iter().chain(options)).unwrap().setup
        };
        let program = at("keys").join(PROGRAM);
        let build = |source: &Path| {
            assert_eq!(source, at("zk"));
            Ok(at("built"))
        };
        // Without source, what is there; or what is named.
        fs::create_dir(at("keys")).unwrap();
        fs::write(&program, "old").unwrap();
        let unbuilt = |_: &Path| Err("built without need".into());
        assert_eq!(setup(&[]).program(unbuilt).unwrap(), program);
        let named = at("named");
        let options = ["--zk-program", named.to_str().unwrap()];
        fs::create_dir(at("zk")).unwrap();
        fs::write(at("zk").join("Cargo.toml"), "").unwrap();
        assert_eq!(setup(&options).program(unbuilt).unwrap(), named);
        // With source, what that makes now: what was built of another version does not stay.
        fs::write(at("built"), "new").unwrap();
        assert_eq!(setup(&[]).program(build).unwrap(), program);
        assert_eq!(fs::read(&program).unwrap(), b"new");
        fs::remove_file(&program).unwrap();
        assert_eq!(setup(&[]).program(build).unwrap(), program);
    }

    #[test]
    fn a_folder_is_pinned_for_the_guest_at_hand_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["guest", "vm", PROGRAM] {
            fs::write(at(name), name).unwrap();
        }
        // As a folder is that another guest's keys are in.
        fs::write(at("commitments.json"), r#"{"image":"0x00","program":"0x1","vm":"0x2"}"#).unwrap();
        fs::write(at("program.vk"), "").unwrap();
        let program = |guest: &str| Program {
            zk_program: Some(at(PROGRAM)),
            zk_guest: at(guest),
            zk_vm: at("vm"),
            zk_keys: Some(folder.path().to_owned()),
            zk_memory: None,
            zk_segment_memory: None,
        };
        assert!(program("guest").ready().unwrap_err().contains("not of others"));
        assert!(pins(&program("guest").verifier().unwrap()).unwrap_err().contains("not of others"));
        assert!(program("nothing").verifier().unwrap_err().contains("--zk-guest"));
    }
}
