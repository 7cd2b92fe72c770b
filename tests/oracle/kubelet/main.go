// Oracle asks the kubelet's own code which environment it would give a container.
//
// Each line of the input is a case: a pod whose first container is meant, and the services, ConfigMaps and Secrets of the
// cluster. Each line of the output is the answer, in the same order. The function is not exported, so it is linked by
// name; the fields of the kubelet that it reads are set by reflection.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"unsafe"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/kubelet"
	"k8s.io/kubernetes/pkg/kubelet/configmap"
	kubecontainer "k8s.io/kubernetes/pkg/kubelet/container"
	"k8s.io/kubernetes/pkg/kubelet/secret"
)

//go:linkname makeEnvironmentVariables k8s.io/kubernetes/pkg/kubelet.(*Kubelet).makeEnvironmentVariables
func makeEnvironmentVariables(kl *kubelet.Kubelet, pod *v1.Pod, container *v1.Container, podIP string, podIPs []string,
	volumes kubecontainer.VolumeMap) ([]kubecontainer.EnvVar, error)

type question struct {
	Pod        v1.Pod          `json:"pod"`
	Services   []*v1.Service   `json:"services"`
	ConfigMaps []*v1.ConfigMap `json:"configMaps"`
	Secrets    []*v1.Secret    `json:"secrets"`
}

type answer struct {
	// Values are base64: those of a Secret need not be text.
	Env map[string][]byte `json:"env"`
	// Why the kubelet would not start the container.
	Error string `json:"error,omitempty"`
	// The names that a kubelet before 1.32 leaves out.
	InvalidNames []string `json:"invalidNames"`
}

// objects is the part of the cluster that the kubelet sees. It holds one namespace, as managers that are faked by nil.
type objects struct{ question }

func (o objects) List(labels.Selector) ([]*v1.Service, error) { return o.Services, nil }

type configMaps struct {
	configmap.Manager
	objects
}

func (m configMaps) GetConfigMap(_, name string) (*v1.ConfigMap, error) {
	for _, one := range m.ConfigMaps {
		if one.Name == name {
			return one, nil
		}
	}
	return nil, apierrors.NewNotFound(v1.Resource("configmap"), name)
}

type secrets struct {
	secret.Manager
	objects
}

func (m secrets) GetSecret(_, name string) (*v1.Secret, error) {
	for _, one := range m.Secrets {
		if one.Name == name {
			return one, nil
		}
	}
	return nil, apierrors.NewNotFound(v1.Resource("secret"), name)
}

func set(kl *kubelet.Kubelet, field string, value any) {
	target := reflect.ValueOf(kl).Elem().FieldByName(field)
	reflect.NewAt(target.Type(), unsafe.Pointer(target.UnsafeAddr())).Elem().Set(reflect.ValueOf(value))
}

func ask(q question) answer {
	kl := &kubelet.Kubelet{}
	set(kl, "kubeClient", &kubernetes.Clientset{})
	set(kl, "serviceLister", objects{q})
	set(kl, "serviceHasSynced", cache.InformerSynced(func() bool { return true }))
	set(kl, "configMapManager", configMaps{objects: objects{q}})
	set(kl, "secretManager", secrets{objects: objects{q}})
	variables, err := makeEnvironmentVariables(kl, &q.Pod, &q.Pod.Spec.Containers[0], "", nil, nil)
	if err != nil {
		return answer{Error: err.Error()}
	}
	result := answer{Env: map[string][]byte{}, InvalidNames: []string{}}
	for _, variable := range variables {
		result.Env[variable.Name] = []byte(variable.Value)
		if len(validation.IsEnvVarName(variable.Name)) > 0 {
			result.InvalidNames = append(result.InvalidNames, variable.Name)
		}
	}
	return result
}

func main() {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 16<<20)
	output := json.NewEncoder(os.Stdout)
	for input.Scan() {
		var q question
		if err := json.Unmarshal(input.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		if err := output.Encode(ask(q)); err != nil {
			os.Exit(1)
		}
	}
}
