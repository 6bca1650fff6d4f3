//! Where paths of the host stand in each kind of body, field by field as dockerd's API has them. Called through `mounts`.

use super::{
    Form, HostPath, Kind, MountError, Place, form,
    json::{Object, Value},
};

/// All paths of the host in `body`, in no particular order. None stand in what dockerd cannot read either: text that is no JSON
/// or ends too early, a value that is no object. It refuses those in words of its own.
///
/// # Errors
/// [`MountError`] when dockerd might read another value than this does.
pub fn find(kind: Kind, body: &[u8]) -> Result<Vec<HostPath>, MountError> {
    let body = std::str::from_utf8(body).map_err(MountError::NotText)?;
    let mut found = Vec::new();
    let Some(root) = Value::first(body).filter(|value| value.is_object()) else { return Ok(found) };
    let root = root.object("the whole")?;
    match kind {
        Kind::Container => {
            // Old engines also took what belongs into HostConfig beside it.
            mounts_of_container(&root, &mut found)?;
            if let Some(config) = root.field("HostConfig")? {
                mounts_of_container(&config.object("HostConfig")?, &mut found)?;
            }
        }
        Kind::Service => {
            if let Some(task) = root.field("TaskTemplate")?
                && let Some(container) = task.object("TaskTemplate")?.field("ContainerSpec")?
            {
                mounts(&container.object("ContainerSpec")?, &mut found)?;
            }
        }
        Kind::Volume => volume(root.field("Driver")?, root.field("DriverOpts")?, "DriverOpts", &mut found)?,
    }
    Ok(found)
}

fn mounts_of_container(config: &Object<'_>, found: &mut Vec<HostPath>) -> Result<(), MountError> {
    if let Some(binds) = config.field("Binds")? {
        for bind in binds.list("Binds")?.into_iter().filter_map(Value::given) {
            let text = bind.text("an entry of Binds")?;
            if let Some((path, rest, form)) = form::cut(&text) {
                let (path, rest) = (path.to_owned(), rest.to_owned());
                found.push(HostPath { place: Place::Bind, form, path, rest, span: bind.span() });
            }
        }
    }
    mounts(config, found)
}

fn mounts(config: &Object<'_>, found: &mut Vec<HostPath>) -> Result<(), MountError> {
    let Some(list) = config.field("Mounts")? else { return Ok(()) };
    for mount in list.list("Mounts")?.into_iter().filter_map(Value::given) {
        let mount = mount.object("an entry of Mounts")?;
        let kind = mount.field("Type")?.map(|kind| kind.text("Type")).transpose()?;
        let source = mount.field("Source")?;
        if kind.as_deref() == Some("bind") {
            push(Place::Mount, source, "Source", found)?;
        }
        if let Some(options) = mount.field("VolumeOptions")?
            && let Some(driver) = options.object("VolumeOptions")?.field("DriverConfig")?
        {
            let driver = driver.object("DriverConfig")?;
            volume(driver.field("Name")?, driver.field("Options")?, "Options", found)?;
        }
    }
    Ok(())
}

/// A volume of the driver `local` mounts what its options say; other drivers mean what they like by theirs.
fn volume(
    driver: Option<Value<'_>>,
    options: Option<Value<'_>>,
    name: &'static str,
    found: &mut Vec<HostPath>,
) -> Result<(), MountError> {
    let driver = driver.map(|driver| driver.text("the volume driver")).transpose()?.unwrap_or_default();
    let Some(options) = options else { return Ok(()) };
    let options = options.object(name)?;
    let flags = options.entry("o")?.map(|flags| flags.text("the option `o`")).transpose()?.unwrap_or_default();
    let device = options.entry("device")?;
    let binds = flags.split(',').any(|flag| matches!(flag.trim(), "bind" | "rbind"));
    if matches!(driver.as_str(), "" | "local") && binds {
        push(Place::Device, device, "the option `device`", found)
    } else {
        Ok(())
    }
}

fn push(
    place: Place,
    value: Option<Value<'_>>,
    name: &'static str,
    found: &mut Vec<HostPath>,
) -> Result<(), MountError> {
    let Some(value) = value else { return Ok(()) };
    let path = value.text(name)?;
    // Missing, as dockerd will say.
    if !path.is_empty() {
        found.push(HostPath { place, form: Form::of(&path), path, rest: String::new(), span: value.span() });
    }
    Ok(())
}
