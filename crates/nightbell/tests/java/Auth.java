import com.netflix.conductor.client.automator.TaskRunnerConfigurer;
import com.netflix.conductor.client.http.TaskClient;
import com.netflix.conductor.client.worker.Worker;
import com.netflix.conductor.common.metadata.tasks.Task;
import com.netflix.conductor.common.metadata.tasks.TaskResult;
import io.orkes.conductor.client.ApiClient;
import java.util.List;

/**
 * A worker of the official Conductor SDK with a key, which works until its standard input ends.
 *
 * <p>Reads the server's address from CONDUCTOR_SERVER_URL, the key from CONDUCTOR_AUTH_KEY and
 * CONDUCTOR_AUTH_SECRET, and the type of its tasks from TASK_TYPE.
 */
public class Auth {
  public static void main(String[] arguments) throws Exception {
    String type = System.getenv("TASK_TYPE");
    Worker worker =
        new Worker() {
          @Override
          public String getTaskDefName() {
            return type;
          }

          @Override
          public TaskResult execute(Task task) {
            TaskResult result = new TaskResult(task);
            result.setStatus(TaskResult.Status.COMPLETED);
            return result;
          }

          @Override
          public int getPollingInterval() {
            return 50;
          }
        };
    ApiClient client =
        new ApiClient(
            System.getenv("CONDUCTOR_SERVER_URL"),
            System.getenv("CONDUCTOR_AUTH_KEY"),
            System.getenv("CONDUCTOR_AUTH_SECRET"));
    new TaskRunnerConfigurer.Builder(new TaskClient(client), List.of(worker))
        .withThreadCount(1)
        .build()
        .init();
    while (System.in.read() >= 0) {
      // Whoever started it says nothing, and goes away when it is no longer needed.
    }
    System.exit(0);
  }
}
