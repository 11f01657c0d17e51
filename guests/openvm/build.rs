//! Numbers the machine's instructions as `openvm.toml` has moduli, extensions and curves: prover and verifier build the machine from the same file.

use serde::Deserialize;
use std::{env, error::Error, fs, path::Path};

#[derive(Deserialize)]
struct File {
    app_vm_config: Machine,
}

#[derive(Deserialize)]
struct Machine {
    modular: Modular,
    fp2: Fp2,
    ecc: Ecc,
}

#[derive(Deserialize)]
struct Modular {
    supported_moduli: Vec<String>,
}

#[derive(Deserialize)]
struct Fp2 {
    /// Name and modulus.
    supported_moduli: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Ecc {
    supported_curves: Vec<Curve>,
}

#[derive(Deserialize)]
struct Curve {
    struct_name: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=openvm.toml");
    let File { app_vm_config: Machine { modular, fp2, ecc } } = toml::from_str(&fs::read_to_string("openvm.toml")?)?;
    let moduli = modular.supported_moduli;
    let mut extensions = Vec::new();
    for (name, modulus) in fp2.supported_moduli {
        let index = moduli.iter().position(|other| *other == modulus).ok_or("an extension of no modulus")?;
        extensions.push(format!("{name:?} {{ mod_idx = {index} }}"));
    }
    let moduli: Vec<String> = moduli.iter().map(|modulus| format!("{modulus:?}")).collect();
    let curves: Vec<String> = ecc.supported_curves.iter().map(|curve| format!("{:?}", curve.struct_name)).collect();
    let text = format!(
        "openvm_algebra_guest::moduli_macros::moduli_init! {{ {} }}\n\
         openvm_algebra_guest::complex_macros::complex_init! {{ {} }}\n\
         openvm_ecc_guest::sw_macros::sw_init! {{ {} }}\n",
        moduli.join(", "),
        extensions.join(", "),
        curves.join(", "),
    );
    fs::write(Path::new(&env::var("OUT_DIR")?).join("openvm_init.rs"), text)?;
    Ok(())
}
