{{/* A node: the same pod, whether it is one of several or the only one. */}}
{{- define "nightbell.pod" -}}
metadata:
  labels:
    {{- include "nightbell.labels" . | nindent 4 }}
  annotations:
    checksum/definitions: {{ toYaml .Values.definitions | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add 25 (int .Values.drainSeconds) }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: nightbell
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        {{- if .Values.configuration.existingSecret }}
        - --config
        - /run/credentials/nightbell.toml
        {{- end }}
      ports:
        - { name: http, containerPort: 8080 }
        {{- if .Values.store.existingSecret }}
        - { name: peers, containerPort: 7070 }
        {{- end }}
      env:
        # Secrets are credentials of the service manager: their group may read them, others may not.
        - { name: CREDENTIALS_DIRECTORY, value: /run/credentials }
        - { name: NIGHTBELL_LISTEN, value: "0.0.0.0:8080" }
        - { name: NIGHTBELL_SECRET_KEY_FILE, value: /run/credentials/key }
        - { name: NIGHTBELL_LOAD, value: /etc/nightbell/load }
        # `kubectl exec … -- nightbell …` is the local administrator.
        - { name: NIGHTBELL_SOCKET, value: /run/nightbell/nightbell.sock }
        - { name: NIGHTBELL_URL, value: "unix:/run/nightbell/nightbell.sock" }
        {{- if not (hasKey .Values.settings "auth") }}
        - { name: NIGHTBELL_AUTH, value: "on" }
        {{- end }}
        {{- if not (hasKey .Values.settings "bootstrap_key_file") }}
        - { name: NIGHTBELL_BOOTSTRAP_KEY_FILE, value: /run/nightbell/bootstrap-key }
        {{- end }}
        {{- if .Values.store.existingSecret }}
        - name: NIGHTBELL_STORE
          valueFrom:
            secretKeyRef: { name: {{ .Values.store.existingSecret | quote }}, key: {{ .Values.store.existingSecretKey | quote }} }
        - name: POD_IP
          valueFrom: { fieldRef: { fieldPath: status.podIP } }
        - { name: NIGHTBELL_PEER_LISTEN, value: "0.0.0.0:7070" }
        - { name: NIGHTBELL_PEER_ADDRESS, value: "$(POD_IP):7070" }
        {{- else }}
        - { name: NIGHTBELL_STORE, value: "sqlite:/var/lib/nightbell/nightbell.db" }
        {{- end }}
        {{- range $key, $value := .Values.settings }}
        - name: NIGHTBELL_{{ upper $key }}
          value: {{ include "nightbell.setting" $value | quote }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      # Ready: it leads, or reaches the node that does.
      readinessProbe:
        httpGet: { path: /health/ready, port: http }
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      # Alive: it accepts connections. /health would end a node because a receiver or a disk is broken,
      # which a new start does not mend.
      livenessProbe:
        tcpSocket: { port: http }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      # Until its port is open; a store that is brought up to date may take long.
      startupProbe:
        tcpSocket: { port: http }
        periodSeconds: 2
        failureThreshold: 150
      {{- if and .Values.drainSeconds (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) }}
      lifecycle:
        preStop: { sleep: { seconds: {{ .Values.drainSeconds }} } }
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - { name: credentials, mountPath: /run/credentials, readOnly: true }
        - { name: run, mountPath: /run/nightbell }
        - { name: store, mountPath: /var/lib/nightbell }
        # Each file by itself: what a whole ConfigMap is mounted as has another path after each change, and a
        # file of another path is another file, whose monitors begin anew.
        - { name: load, mountPath: /etc/nightbell/load }
        {{- range $name, $_ := .Values.definitions }}
        - { name: definitions, mountPath: {{ printf "/etc/nightbell/load/%s" $name | quote }}, subPath: {{ $name | quote }}, readOnly: true }
        {{- end }}
  volumes:
    - name: credentials
      projected:
        defaultMode: 0400
        sources:
          - secret:
              name: {{ .Values.secretKey.existingSecret | quote }}
              items: [{ key: {{ .Values.secretKey.existingSecretKey | quote }}, path: key }]
          {{- if .Values.configuration.existingSecret }}
          - secret:
              name: {{ .Values.configuration.existingSecret | quote }}
              items: [{ key: {{ .Values.configuration.existingSecretKey | quote }}, path: nightbell.toml }]
          {{- end }}
    - name: run
      emptyDir: { medium: Memory, sizeLimit: 1Mi }
    {{- if .Values.store.existingSecret }}
    - name: store
      emptyDir: { sizeLimit: 1Gi }
    {{- end }}
    - name: load
      emptyDir: { sizeLimit: 1Mi }
    {{- if .Values.definitions }}
    - name: definitions
      configMap: { name: {{ include "nightbell.name" . }}-definitions }
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "nightbell.selector" . | nindent 10 }}
{{- end -}}
