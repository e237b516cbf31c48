//! The manifests for Kubernetes: each is what the API knows, and all of them speak of the same ports, labels, files and times.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Container, Namespace, PodSpec, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::{Metadata, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::files::{TempFile, check, path, read, toml, yaml};

const FOLDER: &str = "deploy/kubernetes";

/// The example of servers.
const SERVERS: &str = "deploy/kubernetes-servers";

/// The longest that the end takes when everybody has been told to go: docs/draining.md.
const END_TIMEOUT: Duration = Duration::from_secs(23);

type Labels = BTreeMap<String, String>;

/// What the tool that puts the manifests together is told; only what is used here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    #[expect(dead_code, reason = "it has to be there")]
    api_version: String,
    #[expect(dead_code, reason = "it has to be there")]
    kind: String,
    namespace: String,
    #[expect(dead_code, reason = "labels for people, which nothing selects by")]
    labels: Vec<Value>,
    resources: Vec<String>,
    config_map_generator: Vec<ConfigMap>,
    images: Vec<Image>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigMap {
    name: String,
    files: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    name: String,
    #[expect(dead_code, reason = "it is an example")]
    new_name: String,
    new_tag: String,
}

fn kustomization() -> Kustomization {
    let mut documents = yaml(&format!("{FOLDER}/kustomization.yaml"));
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// Every document of every manifest.
fn documents() -> Vec<Value> {
    kustomization().resources.iter().flat_map(|file| yaml::<Value>(&format!("{FOLDER}/{file}"))).collect()
}

/// All of one kind.
fn all<T: Resource + DeserializeOwned>() -> Vec<T> {
    let is_it = |document: &Value| document["apiVersion"] == T::API_VERSION && document["kind"] == T::KIND;
    documents().into_iter().filter(is_it).map(|document| serde_json::from_value(document).unwrap()).collect()
}

fn the_only<T: Resource + DeserializeOwned>() -> T {
    let mut all = all::<T>();
    assert_eq!(all.len(), 1, "there is one {}", T::KIND);
    all.remove(0)
}

/// What the API would make of a document: what it does not know, it leaves out.
fn understood(document: &Value) -> Result<Value, String> {
    fn by<T: DeserializeOwned + serde::Serialize>(document: &Value) -> Result<Value, String> {
        let object: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(object).unwrap())
    }
    match document["kind"].as_str().unwrap_or_default() {
        Namespace::KIND => by::<Namespace>(document),
        Deployment::KIND => by::<Deployment>(document),
        Service::KIND => by::<Service>(document),
        PodDisruptionBudget::KIND => by::<PodDisruptionBudget>(document),
        HorizontalPodAutoscaler::KIND => by::<HorizontalPodAutoscaler>(document),
        NetworkPolicy::KIND => by::<NetworkPolicy>(document),
        StatefulSet::KIND => by::<StatefulSet>(document),
        kind => Err(format!("no kind that this test knows: {kind:?}")),
    }
}

#[track_caller]
fn assert_understood(document: &Value) {
    let understood = understood(document).unwrap_or_else(|error| panic!("{error}\n{document:#}"));
    assert!(
        understood == *document,
        "something is not understood in\n{document:#}\nwhich leaves\n{understood:#}"
    );
}

fn pod() -> PodSpec {
    the_only::<Deployment>().spec.unwrap().template.spec.unwrap()
}

fn container() -> Container {
    let mut containers = pod().containers;
    assert_eq!(containers.len(), 1);
    containers.remove(0)
}

fn pod_labels() -> Labels {
    the_only::<Deployment>().spec.unwrap().template.metadata.unwrap().labels.unwrap()
}

/// What the configuration says.
fn setting(names: &[&str]) -> String {
    toml(&format!("{FOLDER}/gateway.toml"), names)
}

fn duration(name: &str) -> Duration {
    humantime::parse_duration(&setting(&[name])).unwrap()
}

/// The ports of the container by name.
fn ports() -> BTreeMap<String, i32> {
    let ports = container().ports.unwrap().into_iter();
    ports.map(|port| (port.name.unwrap(), port.container_port)).collect()
}

#[track_caller]
fn assert_named(port: &IntOrString) {
    let IntOrString::String(name) = port else { panic!("{port:?} is no name") };
    assert!(ports().contains_key(name), "the container has no port {name}");
}

#[test]
fn each_manifest_is_what_the_api_knows_and_is_put_in() {
    let kustomization = kustomization();
    let mut put_in: Vec<_> = kustomization.resources.clone();
    put_in.push("kustomization.yaml".to_owned());
    put_in.extend(kustomization.config_map_generator.into_iter().flat_map(|map| map.files));
    let mut there: Vec<_> = fs::read_dir(path(FOLDER))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    put_in.sort();
    there.sort();
    assert_eq!(put_in, there);
    documents().iter().for_each(assert_understood);
    assert_eq!(the_only::<Namespace>().metadata().name.as_deref(), Some(&kustomization.namespace[..]));
}

#[test]
fn a_gateway_starts_with_the_configuration() {
    let secret = TempFile::new("secret", "secret", "a-secret-that-is-long-enough-to-be-one\n");
    let config = path(&format!("{FOLDER}/gateway.toml"));
    // The files are mounted in the cluster only; a flag counts more.
    check(&[
        "--config",
        config.to_str().unwrap(),
        "--server-auth-password-file",
        secret.path(),
        "--admin-token-file",
        secret.path(),
    ])
    .unwrap();
}

#[test]
fn the_container_finds_its_configuration_and_its_secrets() {
    let (container, pod, kustomization) = (container(), pod(), kustomization());
    let mounts = container.volume_mounts.unwrap();
    let volumes = pod.volumes.unwrap();
    let volume_at = |file: &str| {
        let (folder, name) = file.rsplit_once('/').unwrap();
        let mount = mounts.iter().find(|mount| mount.mount_path == folder).expect("it is mounted");
        (volumes.iter().find(|volume| volume.name == mount.name).expect("it is a volume"), name.to_owned())
    };
    let args = container.args.unwrap();
    assert_eq!(args[0], "--config");
    let (volume, file) = volume_at(&args[1]);
    let [map] = &kustomization.config_map_generator[..] else { panic!("one configuration") };
    assert_eq!(volume.config_map.as_ref().unwrap().name, map.name);
    assert_eq!(map.files, [file]);

    let header = read(&format!("{FOLDER}/kustomization.yaml"));
    for file in [["server", "auth-password-file"], ["admin", "token-file"]] {
        let (volume, name) = volume_at(&setting(&file));
        let secret = volume.secret.as_ref().unwrap();
        let name_of_secret = secret.secret_name.as_ref().unwrap();
        assert!(header.contains(&format!("secret generic {name_of_secret} ")), "how to make it is said");
        assert!(header.contains(&format!("--from-literal={name}=")), "how to make {name} is said");
        assert_eq!(secret.default_mode, Some(0o440));
    }
    assert_eq!(pod.security_context.unwrap().fs_group, Some(65532));
}

#[test]
fn the_ports_are_those_of_the_configuration() {
    let port = |names: &[&str]| setting(names).rsplit_once(':').unwrap().1.parse().unwrap();
    let expected = [
        ("admin", port(&["admin", "addr"])),
        ("clients", port(&["client-addr"])),
        ("servers", port(&["server", "addr"])),
    ];
    assert_eq!(ports(), expected.map(|(name, port)| (name.to_owned(), port)).into());

    let services = all::<Service>();
    assert_eq!(services.len(), 2);
    for service in services {
        for port in service.spec.unwrap().ports.unwrap() {
            let target = port.target_port.unwrap();
            assert_named(&target);
            assert!(matches!(target, IntOrString::String(name) if ports()[&name] == port.port));
        }
    }
    let container = container();
    for probe in [container.liveness_probe, container.readiness_probe] {
        let get = probe.unwrap().http_get.unwrap();
        assert_eq!(get.port, IntOrString::String("admin".to_owned()));
    }
    for rule in the_only::<NetworkPolicy>().spec.unwrap().ingress.unwrap() {
        for port in rule.ports.expect("a rule names its ports") {
            let port = port.port.unwrap();
            assert_named(&port);
            let is_public = port == IntOrString::String("clients".to_owned());
            assert_eq!(rule.from.is_none(), is_public, "anybody may come to clients' port, and to no other");
        }
    }
}

#[test]
fn what_selects_gateways_finds_them() {
    let labels = pod_labels();
    let finds = |selector: &Labels| selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let selectors = [
        the_only::<Deployment>().spec.unwrap().selector.match_labels,
        the_only::<PodDisruptionBudget>().spec.unwrap().selector.unwrap().match_labels,
        the_only::<NetworkPolicy>().spec.unwrap().pod_selector.unwrap().match_labels,
    ];
    let services = all::<Service>().into_iter().map(|service| service.spec.unwrap().selector);
    let spreads = pod().topology_spread_constraints.unwrap().into_iter();
    let spreads = spreads.map(|spread| spread.label_selector.unwrap().match_labels);
    for selector in selectors.into_iter().chain(services).chain(spreads) {
        let selector = selector.unwrap();
        assert!(!selector.is_empty() && finds(&selector), "{selector:?}");
    }
    let (autoscaler, deployment) = (the_only::<HorizontalPodAutoscaler>(), the_only::<Deployment>());
    let target = autoscaler.spec.unwrap().scale_target_ref;
    assert_eq!((&target.kind[..], Some(target.name)), (Deployment::KIND, deployment.metadata.name));
}

/// Kubernetes kills what has not ended by then.
#[test]
fn there_is_time_to_sleep_to_drain_and_to_stop() {
    let sleep = container().lifecycle.unwrap().pre_stop.unwrap().sleep.unwrap().seconds;
    let needed = Duration::from_secs(sleep as u64)
        + duration("drain-timeout")
        + duration("drain-spread")
        + END_TIMEOUT;
    let given = Duration::from_secs(pod().termination_grace_period_seconds.unwrap() as u64);
    assert!(given >= needed + Duration::from_secs(10), "{given:?} are given, {needed:?} needed");
}

/// One gateway counts its threads by the processors of the whole node, unless it is told.
#[test]
fn there_are_as_many_threads_as_processors_asked_for() {
    let requests = container().resources.unwrap().requests.unwrap();
    assert_eq!(requests["cpu"].0, setting(&["threads"]));
}

/// What the standard `restricted` demands, and a file system that cannot be written to.
#[test]
fn the_pod_may_do_little() {
    let (pod, container) = (pod(), container());
    let all = pod.security_context.unwrap();
    assert_eq!(
        (all.run_as_non_root, all.seccomp_profile.unwrap().type_),
        (Some(true), "RuntimeDefault".to_owned())
    );
    assert_eq!(pod.automount_service_account_token, Some(false));
    let own = container.security_context.unwrap();
    assert_eq!(own.allow_privilege_escalation, Some(false));
    assert_eq!(own.read_only_root_filesystem, Some(true));
    assert_eq!(own.capabilities.unwrap().drop.unwrap(), ["ALL"]);
}

#[test]
fn the_image_is_that_of_this_version() {
    let [image] = &kustomization().images[..] else { panic!("one image") };
    assert_eq!(Some(&image.name), container().image.as_ref());
    assert_eq!(image.new_tag, env!("CARGO_PKG_VERSION"));
    assert!(read("deploy/Dockerfile").contains(&format!("-t {}:{} ", image.name, image.new_tag)));
}

#[test]
fn prometheus_finds_gateways_in_the_cluster_by_a_port_that_they_have() {
    let prometheus = &yaml::<Value>("deploy/prometheus/prometheus-kubernetes.yaml")[0];
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(job["job_name"], "fastway");
    assert_eq!(job["kubernetes_sd_configs"][0]["namespaces"]["names"][0], kustomization().namespace);
    let keep = job["relabel_configs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|relabel| relabel["action"] == "keep")
        .unwrap();
    assert_eq!(keep["source_labels"][0], "__meta_kubernetes_pod_container_port_name");
    assert_eq!(keep["regex"], "admin");
    assert!(ports().contains_key("admin"));
}

/// The example of servers that find gateways by name: what it names is there.
#[test]
fn the_servers_of_the_example_find_the_gateways_and_are_let_in() {
    let kustomization = &yaml::<Value>(&format!("{SERVERS}/kustomization.yaml"))[0];
    assert_eq!(kustomization["namespace"], Value::from(self::kustomization().namespace));
    let [file] = &kustomization["resources"].as_array().unwrap()[..] else { panic!("one file") };
    let documents = yaml::<Value>(&format!("{SERVERS}/{}", file.as_str().unwrap()));
    documents.iter().for_each(assert_understood);
    let [document] = &documents[..] else { panic!("one set") };
    let set: StatefulSet = serde_json::from_value(document.clone()).unwrap();
    let spec = set.spec.unwrap();
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    let pod = spec.template.spec.unwrap();
    let [container] = &pod.containers[..] else { panic!("one container") };

    let headless = all::<Service>()
        .into_iter()
        .find(|service| service.spec.as_ref().unwrap().cluster_ip.as_deref() == Some("None"));
    let headless = headless.expect("servers find gateways by a headless service");
    let port = headless.spec.unwrap().ports.unwrap()[0].port;
    let name = format!(
        "{}.{}.svc.cluster.local:{port}",
        headless.metadata.name.unwrap(),
        self::kustomization().namespace
    );
    assert_eq!(container.args.as_ref().unwrap()[1], name);

    let rules = the_only::<NetworkPolicy>().spec.unwrap().ingress.unwrap();
    let from = rules.into_iter().flat_map(|rule| rule.from.unwrap_or_default());
    let is_let_in = from
        .filter_map(|peer| peer.pod_selector?.match_labels)
        .any(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
    assert!(is_let_in, "{labels:?}");

    let password =
        container.env.as_ref().unwrap().iter().find(|env| env.name == "FASTWAY_SERVER_AUTH_PASSWORD");
    let secret = password.unwrap().value_from.as_ref().unwrap().secret_key_ref.as_ref().unwrap();
    let header = read(&format!("{FOLDER}/kustomization.yaml"));
    assert!(header.contains(&format!("secret generic {} ", secret.name)));
    assert!(header.contains(&format!("--from-literal={}=", secret.key)));
}
