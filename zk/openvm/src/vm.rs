//! The virtual machine, its program, and the parameters of every layer of STARKs.

use crate::{Error, files};
use openvm_circuit::arch::instructions::exe::VmExe;
use openvm_sdk::{
    CpuSdk, DefaultStarkEngine, F, SdkError,
    config::{AggregationSystemParams, AppConfig},
    keygen::RootProvingKey,
};
use openvm_sdk_config::SdkVmConfig;
use openvm_stark_sdk::config::{
    MAX_APP_LOG_STACKED_HEIGHT, app_params_with_100_bits_security, root_params_with_100_bits_security,
};
use openvm_transpiler::{elf::Elf, openvm_platform::memory::MEM_SIZE};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// The engine of the application's and of the aggregation's proofs.
pub type Engine = DefaultStarkEngine;

/// Bytes that a program reveals: its statement.
pub const REVEALED: usize = 32;

/// What is proven: a program, and the machine that it is for.
#[derive(clap::Args, Clone, Debug)]
pub struct Program {
    /// The program: an ELF file for riscv32im
    #[arg(long, value_name = "FILE")]
    pub program: PathBuf,
    /// The virtual machine's configuration: an openvm.toml
    #[arg(long, value_name = "FILE")]
    pub vm: PathBuf,
    /// Memory for a segment of an execution, in GiB: a longer execution has more segments
    #[arg(long, value_name = "GIB", default_value_t = 5)]
    pub segment_memory: usize,
}

impl Program {
    /// A proving environment for it, with the root's key where that is made already.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`], [`Error::Program`].
    pub fn sdk(&self, root: Option<RootProvingKey>) -> Result<CpuSdk, Error> {
        let text = files::read(&self.vm)?;
        let text = str::from_utf8(&text).map_err(Error::content(&self.vm))?;
        let mut vm = SdkVmConfig::from_toml(text).map_err(Error::content(&self.vm))?.optimize();
        if vm.system.config.num_public_values != REVEALED {
            return Err(Error::content(&self.vm)(format!("num_public_values is not {REVEALED}")));
        }
        vm.system.config.set_segmentation_max_memory(self.segment_memory << 30);
        let app = AppConfig::new(vm, app_params_with_100_bits_security(MAX_APP_LOG_STACKED_HEIGHT));
        let builder = CpuSdk::builder().app_config(app).agg_params(AggregationSystemParams::default());
        let problem = |error: SdkError| Error::Program(error.to_string());
        let sdk = builder.root_params(root_params_with_100_bits_security()).build().map_err(problem)?;
        let Some(root) = root else { return Ok(sdk) };
        // A key is taken beside those of the layers below alone: they are made again, in seconds.
        let builder = CpuSdk::builder().app_pk(sdk.app_pk().clone()).agg_pk(sdk.agg_pk());
        builder.root_pk(root).build().map_err(problem)
    }

    /// The program, as that environment runs it.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`], [`Error::Program`].
    pub fn exe(&self, sdk: &CpuSdk) -> Result<Arc<VmExe<F>>, Error> {
        let elf = Elf::decode(&files::read(&self.program)?, MEM_SIZE as u32).map_err(Error::content(&self.program))?;
        sdk.convert_to_exe(elf).map_err(|error| Error::Program(error.to_string()))
    }
}

/// Where keys and parameters are.
#[derive(clap::Args, Clone, Debug)]
pub struct Keys {
    /// Folder of keys and parameters
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
}

impl Keys {
    /// Path of one of them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.keys.join(name)
    }

    /// The root's key, if it is made.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`].
    pub fn root(&self) -> Result<Option<RootProvingKey>, Error> {
        let path = self.path("root.pk");
        if path.exists() { files::read_bitcode(&path).map(Some) } else { Ok(None) }
    }
}

/// Path of a file of a job.
pub fn of(job: &Path, name: &str) -> PathBuf {
    job.join(name)
}
